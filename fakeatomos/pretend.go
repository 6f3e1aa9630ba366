package fakeatomos

import (
	"net/http"

	"github.com/google/uuid"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// pretend is the reply of a changing call that has succeeded, of one that has
// done nothing. What was to be made has an ID that leads nowhere.
func pretend(call string, r *request) answer {
	fresh := uuid.NewString()
	switch call {
	case "POST matcher/register":
		return ok(c4.RegisterReply{Registered: true, UniqueID: fresh})
	case "DELETE matcher/unregister":
		return ok(c4.UnregisterReply{Unregistered: true, UniqueID: r.entry.ID})
	case "POST storage/create", "POST storage/import":
		return ok(c4.VolumeCreated{VolumeID: fresh})
	case "POST storage/cloudinit/create":
		return ok(c4.VolumeCreated{VID: fresh})
	case "POST storage/cloudinit/metadata":
		if r.entry.ID == "" {
			return answer{status: http.StatusPartialContent, body: c4.VolumeCreated{VID: fresh}}
		}
		return ok(c4.VolumeCreated{VID: r.entry.ID})
	case "POST network/create":
		return echo(r, func(n c4.Network) c4.Network { n.NetworkUID, n.DeviceName = fresh, "virbr0"; return n })
	case "POST network/portforward":
		return echo(r, func(f c4.Forward) c4.Forward { f.ForwardUID = fresh; return f })
	default: // the rest says no more than that
		return ok("OK")
	}
}

// echo replies what was asked for, as if it were there.
func echo[T any](r *request, made func(T) T) answer {
	return with(func(_ *Host, _ *request, in T) answer { return ok(made(in)) })(nil, r)
}
