package main

import (
	. "github.com/onsi/ginkgo/v2"
)

// layers measures the layered path beside the direct one.
func (b *bench) layers(ctx SpecContext) {}
