package main

import (
	"context"

	"elemento.cloud/cluster-api-provider-elemento/reports"
)

// requests answers P1.
func (b *bench) requests(ctx context.Context, e *reports.Examination) {
	e.Doubt("requests are not measured yet")
}
