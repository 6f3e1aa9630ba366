package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	streamspdy "k8s.io/streaming/pkg/httpstream/spdy"
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
	local, end, err := forward(ctx, w.config, pod, diagnosticsPort)
	if err != nil {
		return "", nil, fmt.Errorf("reaching pod %s: %w", pod.Name, err)
	}
	return "https://" + local, end, nil
}

// forward makes a way to a port of a pod, and returns its address here. It ends with
// ctx, or earlier by end.
func forward(ctx context.Context, config *rest.Config, pod *corev1.Pod, port int) (local string, end func(), err error) {
	dialer, err := forwardDialer(ctx, config, pod)
	if err != nil {
		return "", nil, err
	}
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var said bytes.Buffer
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, &said)
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
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		return "", nil, errors.Join(failed, errors.New(said.String()))
	case <-ctx.Done():
		end()
		return "", nil, context.Cause(ctx)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		end()
		return "", nil, err
	}
	return hostPort("127.0.0.1", int(ports[0].Local)), end, nil
}

// forwardDialer asks the API server for the way. The library's own dialer knows no
// context; here the end of ctx closes the connection, whatever is waited for on it.
func forwardDialer(ctx context.Context, config *rest.Config, pod *corev1.Pod) (httpstream.Dialer, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	trust, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	connect := func(_ context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}
	upgrader, err := streamspdy.NewRoundTripperWithConfig(streamspdy.RoundTripperConfig{
		UpgradeTransport: &http.Transport{TLSClientConfig: trust, DialContext: connect}, PingPeriod: 5 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	transport, err := rest.HTTPWrappersForConfig(config, upgrader)
	if err != nil {
		return nil, err
	}
	at := clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	return spdy.NewDialerForStreaming(spdy.NewUpgraderForStreaming(upgrader), &http.Client{Transport: transport}, http.MethodPost, at), nil
}
