package main

import (
	. "github.com/onsi/ginkgo/v2"
)

// rest measures what Machines cost with which nothing happens.
func (b *bench) rest(ctx SpecContext) {}
