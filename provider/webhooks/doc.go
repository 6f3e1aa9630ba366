// Package webhooks refuses what the schemas of the kinds cannot: a template that
// is changed. The schemas could say that too, but not that the topology
// controller may ask, by a dry run, what a change would do.
package webhooks
