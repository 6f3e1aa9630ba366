package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/poll"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

const (
	// callTime is how long one call may take, pauseTime how long to wait before it
	// is repeated, and lookTime how often it is looked whether something is so.
	callTime  = 10 * time.Second
	pauseTime = 200 * time.Millisecond
	lookTime  = 50 * time.Millisecond
	// effectTime is how long to wait for what a call has asked for before it is
	// asked for again.
	effectTime = 2 * time.Second
)

// dayTwo is the network that VMs are attached to while they run.
var dayTwo = &rpc.NetworkSpec{Name: "day-two", Cidr: "10.77.0.0/24", Mode: rpc.NetworkMode_NETWORK_MODE_NAT}

// daemon is one of the world's, asked as an operator asks it: with a certificate
// of its own clients, and beside our manager.
type daemon struct {
	*grpc.ClientConn
	vms       rpc.VMServiceClient
	networks  rpc.NetworkServiceClient
	clientUID string
}

// dial connects to the first daemon of the world.
func dial(w *world.World) (*daemon, error) {
	conn, err := w.DialDaemon(1)
	if err != nil {
		return nil, fmt.Errorf("connecting to the daemon: %w", err)
	}
	return &daemon{ClientConn: conn, vms: rpc.NewVMServiceClient(conn), networks: rpc.NewNetworkServiceClient(conn), clientUID: w.ClientUID()}, nil
}

// repeatable are the reasons with which a call may be repeated as it is: it has
// not had its effect yet, or will be seen to have had it.
var repeatable = map[rpc.Reason]bool{
	rpc.Reason_REASON_UNSPECIFIED:       false,
	rpc.Reason_REASON_INVALID_REQUEST:   false,
	rpc.Reason_REASON_CLIENT_FORBIDDEN:  false,
	rpc.Reason_REASON_DOMAIN_UNKNOWN:    false,
	rpc.Reason_REASON_HOST_UNKNOWN:      false,
	rpc.Reason_REASON_HOST_UNREACHABLE:  true,
	rpc.Reason_REASON_HOST_UNTRUSTED:    false,
	rpc.Reason_REASON_NO_CAPACITY:       false,
	rpc.Reason_REASON_HARDWARE_ABSENT:   false,
	rpc.Reason_REASON_LICENSE_REQUIRED:  false,
	rpc.Reason_REASON_IMAGE_NOT_FOUND:   false,
	rpc.Reason_REASON_NETWORK_NOT_FOUND: false,
	rpc.Reason_REASON_VM_NOT_FOUND:      false,
	rpc.Reason_REASON_IN_USE:            true,
	rpc.Reason_REASON_WRONG_STATE:       true,
	rpc.Reason_REASON_OUTCOME_UNKNOWN:   true,
	rpc.Reason_REASON_HOST_FAILED:       true,
	rpc.Reason_REASON_UNSUPPORTED:       false,
	rpc.Reason_REASON_DRAINING:          true,
}

// mayRepeat tells whether a call that failed may be repeated. Where no daemon has
// answered it may: every call is idempotent.
func mayRepeat(err error) bool {
	st := status.Convert(err)
	for _, d := range st.Details() {
		if detail, ok := d.(*rpc.ErrorDetail); ok {
			return repeatable[detail.Reason]
		}
	}
	return st.Code() == codes.Unavailable || st.Code() == codes.DeadlineExceeded
}

// ask makes a call until it succeeds, fails in a way that repeating does not help,
// or ctx is over.
func ask(ctx context.Context, attempts *int, call func(context.Context) error) error {
	return poll.Until(ctx, pauseTime, func(ctx context.Context) (bool, error) {
		*attempts++
		short, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		err := call(short)
		return err == nil || !mayRepeat(err), err
	})
}

// until looks until something is so, or ctx is over; the last thing that was in
// the way is its error then.
func until(ctx context.Context, so func(context.Context) error) error {
	return poll.Until(ctx, lookTime, func(ctx context.Context) (bool, error) {
		err := so(ctx)
		return err == nil || errors.As(err, new(*lost)), err
	})
}

// lost is the error of what was said to be done and is not. To look again does not
// help.
type lost struct{ error }

func (l *lost) Unwrap() error { return l.error }

// get is the VM as its daemon tells.
func (d *daemon) get(ctx context.Context, host, name string) (*rpc.VM, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	res, err := d.vms.GetVM(ctx, &rpc.GetVMRequest{ClientUid: d.clientUID, Host: host, VmName: name})
	return res.GetVm(), err
}

// deleteNetwork removes the network that VMs were attached to while they ran.
func (d *daemon) deleteNetwork(ctx context.Context, domains []string) error {
	ctx, cancel := context.WithTimeout(ctx, deadlines[detachNetwork])
	defer cancel()
	var attempts int
	return until(ctx, func(ctx context.Context) error {
		return ask(ctx, &attempts, func(ctx context.Context) error {
			res, err := d.networks.DeleteNetwork(ctx, &rpc.DeleteNetworkRequest{ClientUid: d.clientUID, NetworkName: dayTwo.Name, Domains: domains})
			if err == nil && len(res.RemainingHosts) > 0 {
				err = fmt.Errorf("network %s is still on %q", dayTwo.Name, res.RemainingHosts)
			}
			return err
		})
	})
}
