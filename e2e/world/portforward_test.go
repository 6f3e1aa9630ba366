package world

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

func TestAWayToAPodIsGivenUpWhereTheAPIServerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	l, err := listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done() // an API server that stands still
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })

	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		<-asked
		cancel()
	}()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "pod"}}
	given := make(chan error, 1)
	go func() {
		_, _, err := forward(ctx, &rest.Config{Host: l.Addr().String()}, pod, 1)
		given <- err
	}()
	select {
	case err := <-given:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it is given up with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it is waited for without an end")
	}
}
