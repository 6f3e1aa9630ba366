package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// diagnosticsPort is where the managers of Cluster API's providers tell their metrics in
// a pod.
const diagnosticsPort = 8443

// forwardDiagnostics makes a way to the diagnostics of a manager in a pod, and returns
// its URL, without a path. close ends it.
func (w *World) forwardDiagnostics(ctx context.Context, m *Manager) (url string, end func(), err error) {
	pod, err := w.pod(ctx, m)
	if err != nil {
		return "", nil, err
	}
	clients, err := kubernetes.NewForConfig(w.config)
	if err != nil {
		return "", nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(w.config)
	if err != nil {
		return "", nil, err
	}
	at := clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var said bytes.Buffer
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", diagnosticsPort)}, stop, ready, io.Discard, &said)
	if err != nil {
		return "", nil, err
	}
	var failed error
	go func() {
		defer close(ended)
		failed = forwarder.ForwardPorts()
	}()
	end = func() {
		close(stop)
		<-ended
	}
	select {
	case <-ready:
	case <-ended:
		return "", nil, errors.Join(fmt.Errorf("reaching pod %s: %w", pod.Name, failed), errors.New(said.String()))
	case <-ctx.Done():
		end()
		return "", nil, context.Cause(ctx)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		end()
		return "", nil, err
	}
	return fmt.Sprintf("https://127.0.0.1:%d", ports[0].Local), end, nil
}
