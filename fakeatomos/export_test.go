package fakeatomos

import "github.com/prometheus/client_golang/prometheus"

// Metrics is what the control listener shows of the fake itself.
func (f *Fake) Metrics() *prometheus.Registry { return f.metrics.registry }

// ChangingCalls names the C4 calls that have an effect, for tables that must be
// complete.
func ChangingCalls() []string {
	var names []string
	for _, calls := range routes {
		for _, call := range calls {
			if call.changes {
				names = append(names, call.name)
			}
		}
	}
	return names
}

// HostEvents, DomainEvents and VMEvents are what the control listener takes.
func HostEvents() []string   { return sortedKeys(hostEvents) }
func DomainEvents() []string { return sortedKeys(domainEvents) }
func VMEvents() []string     { return sortedKeys(vmEvents) }
