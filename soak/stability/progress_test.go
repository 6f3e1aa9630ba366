package main

import (
	"testing"

	"elemento.cloud/cluster-api-provider-elemento/e2e/metricspage"
)

func TestEveryMetricOfTheSoakIsDocumented(t *testing.T) {
	t.Parallel()
	p, err := serveProgress("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	metricspage.Check(t, "The soak", p.registry)
}
