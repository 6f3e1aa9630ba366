package suite

import "regexp"

// BootstrapToken is what a token of kubeadm's looks like, which nobody else may know.
var BootstrapToken = regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)
