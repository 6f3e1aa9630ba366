package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	controlplanev1 "sigs.k8s.io/cluster-api/api/controlplane/kubeadm/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon/rpc"
	"elemento.cloud/cluster-api-provider-elemento/e2e/poll"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
	fake "elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/soak/history"
)

// stage is a world in which a workload runs, and what records it.
type stage struct {
	*world.World
	dir   string
	admin client.Client
	vms   rpc.VMServiceClient
	// background is what goes on beside the workload; it ends with ending.
	background []func()
	ending     context.CancelFunc
}

// stopTime is longer than a daemon waits for a guest in one call, so that no
// deletion is done with the first.
const stopTime = 1500 * time.Millisecond

// newStage brings a world up whose programs have the content of the overlay.
func newStage(ctx context.Context, dir string, overlay map[string]string) (_ *stage, err error) {
	w, err := world.Up(ctx, world.Options{
		Dir: dir, History: filepath.Join(dir, history.Dir),
		Elemento: &world.Elemento{
			AtomOS:  world.AtomOS{Hosts: 3, Domains: 1, Daemons: 1, StopTime: stopTime},
			Overlay: overlay,
		},
		// Nothing is measured here.
		QuickReconciles: true,
	})
	if err != nil {
		return nil, fmt.Errorf("bringing a world up: %w", err)
	}
	s := &stage{World: w, dir: dir}
	if err = s.connect(); err == nil {
		err = s.dial()
	}
	if err == nil {
		err = s.record(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.end(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *stage) connect() (err error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), clusterv1.AddToScheme(scheme), controlplanev1.AddToScheme(scheme), infrav1.AddToScheme(scheme)); err != nil {
		return err
	}
	s.admin, err = client.New(s.Config(), client.Options{Scheme: scheme})
	return err
}

// dial connects to a daemon as our manager does.
func (s *stage) dial() error {
	connection, err := s.DialDaemon(1)
	if err != nil {
		return err
	}
	s.vms = rpc.NewVMServiceClient(connection)
	s.background = append(s.background, func() { _ = connection.Close() })
	return nil
}

// record has everything written down that the processes do not write themselves.
func (s *stage) record(ctx context.Context) error {
	ctx, s.ending = context.WithCancel(context.WithoutCancel(ctx))
	objects, err := fake.Open(filepath.Join(s.dir, history.Dir, history.Objects))
	if err != nil {
		return err
	}
	wait, err := history.Record(ctx, s.Config(), objects)
	if err != nil {
		return errors.Join(err, objects.Close())
	}
	probes, samples := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(probes)
		history.Probe(ctx, s.admin, s.History())
	}()
	go func() {
		defer close(samples)
		s.sample(ctx)
	}()
	s.background = append(s.background, func() {
		<-probes
		<-samples
		wait()
		_ = objects.Close()
	})
	return nil
}

// sample writes down once a second how many reconcile loops of our manager have
// failed.
func (s *stage) sample(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		families, err := s.Metrics(ctx, world.ElementoProvider)
		if err != nil {
			continue
		}
		s.History().Add(history.ErrorsSample(time.Now(), world.ElementoProvider, history.CountErrors(families)))
	}
}

// end takes everything down.
func (s *stage) end(ctx context.Context) error {
	if s.ending != nil {
		s.ending()
	}
	for _, end := range s.background {
		end()
	}
	return s.Down(ctx)
}

// call writes a call down that the workload makes, and its outcome.
func call[Req interface {
	GetHost() string
	GetVmName() string
	GetClientUid() string
}, Resp any](ctx context.Context, s *stage, name string, do func(context.Context, Req, ...grpc.CallOption) (Resp, error), request Req, result func(Resp) history.Result) (Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	e := history.Event{Time: time.Now(), Kind: fake.RPC, End: "harness", Name: name, Host: request.GetHost(), VM: request.GetVmName(), Owner: request.GetClientUid()}
	response, err := do(ctx, request)
	e.Ended, e.Code = time.Now(), codeOf(err)
	var r history.Result
	if err == nil {
		r = result(response)
	} else {
		r.Lost = !strings.HasPrefix(e.Code, "REASON_")
	}
	e.Detail = fake.Detail(r)
	s.History().Add(e)
	if err != nil {
		return response, fmt.Errorf("%s of %s: %w", name, request.GetVmName(), err)
	}
	return response, nil
}

// codeOf is the daemon's reason, or the code of gRPC where there is none.
func codeOf(err error) string {
	if err == nil {
		return "OK"
	}
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if d, is := detail.(*rpc.ErrorDetail); is {
			return d.GetReason().String()
		}
	}
	return s.Code().String()
}

// eventually waits until a condition holds.
func eventually(ctx context.Context, what string, holds func(context.Context) (bool, error)) error {
	if err := poll.Until(ctx, 250*time.Millisecond, func(ctx context.Context) (bool, error) {
		held, err := holds(ctx)
		return held && err == nil, err
	}); err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}
