package daemon

import (
	"context"
	"math/rand/v2"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// busyPatience is how long a request is repeated for a host that is too busy for it:
// long enough for a rush to pass, and short beside a call's deadline.
const busyPatience = 3 * time.Second

// patiently repeats a request, less and less often, while a host refuses it for being
// busy. The contract has it that such a refusal has had no effect, whatever was asked
// for; of every other failure it may have had one, and who made it has to look first.
func patiently[T any](ctx context.Context, request func(context.Context) (T, error)) (T, error) {
	until := time.Now().Add(busyPatience)
	for pause := quickest; ; pause *= 2 {
		answer, err := request(ctx)
		next := pause + rand.N(pause) // those who were refused together do not come back together
		if err == nil || c4.CodeOf(err) != c4.Unavailable || time.Until(until) < next || !wait(ctx, next) {
			return answer, err
		}
	}
}

// patientlyDo is patiently for a request that brings nothing back.
func patientlyDo(ctx context.Context, request func(context.Context) error) error {
	_, err := patiently(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, request(ctx) })
	return err
}
