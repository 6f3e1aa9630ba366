package simulated_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/moby/spdystream/spdy"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
)

// forwarder is a client of a port forwarding that writes its own frames, as it
// pleases: it waits for no answer.
type forwarder struct {
	net.Conn
	frames *spdy.Framer
	out    *bytes.Buffer
}

// forwarder upgrades a connection for the etcd of a pod's machine.
func (l *lab) forwarder(config *tls.Config, api netip.Addr, pod string, throughWebSocket bool) *forwarder {
	l.Helper()
	address := net.JoinHostPort(api.String(), "6443")
	path := "://" + address + "/api/v1/namespaces/kube-system/pods/" + pod + "/portforward"
	ctx, cancel := deadline(l)
	defer cancel()
	f := &forwarder{out: &bytes.Buffer{}}
	if throughWebSocket {
		dialer := websocket.Dialer{TLSClientConfig: config, Subprotocols: []string{"SPDY/3.1+portforward.k8s.io"}}
		upgraded, answer, err := dialer.DialContext(ctx, "wss"+path, nil)
		if err != nil {
			l.Fatal(err)
		}
		_ = answer.Body.Close()
		f.Conn = portforward.NewTunnelingConnection("client", upgraded)
	} else {
		dialer := tls.Dialer{Config: config}
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			l.Fatal(err)
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https"+path, nil)
		if err != nil {
			l.Fatal(err)
		}
		for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "portforward.k8s.io"} {
			request.Header.Set(name, value)
		}
		if err := request.Write(connection); err != nil {
			l.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReaderSize(connection, 16), request)
		if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
			l.Fatalf("the upgrade answers %v, %v", answer, err)
		}
		_ = answer.Body.Close()
		f.Conn = connection
	}
	var err error
	if f.frames, err = spdy.NewFramer(f.out, f.Conn); err != nil {
		l.Fatal(err)
	}
	return f
}

// open has the next flush open streams of the nth forwarding, of these kinds.
func (f *forwarder) open(n uint32, kinds ...string) {
	for i, kind := range kinds {
		headers := http.Header{}
		headers.Set(corev1.StreamType, kind)
		headers.Set(corev1.PortHeader, "2379")
		headers.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(int(n)))
		_ = f.frames.WriteFrame(&spdy.SynStreamFrame{StreamId: spdy.StreamId(4*n + uint32(2*i) + 1), Headers: headers})
	}
}

// write has the next flush write data to a stream.
func (f *forwarder) write(stream spdy.StreamId, data []byte) {
	_ = f.frames.WriteFrame(&spdy.DataFrame{StreamId: stream, Data: data})
}

// flush writes all frames at once.
func (f *forwarder) flush() error {
	_, err := f.out.WriteTo(f.Conn)
	return err
}

// answered reads until n streams have been answered.
func (f *forwarder) answered(l *lab, n int) {
	l.Helper()
	for n > 0 {
		frame, err := f.frames.ReadFrame()
		if err != nil {
			l.Fatal(err)
		}
		if _, ok := frame.(*spdy.SynReplyFrame); ok {
			n--
		}
	}
}

func TestPowerOffWaitsForNoClientThatForwardsPorts(t *testing.T) {
	t.Parallel()
	both := []string{corev1.StreamTypeError, corev1.StreamTypeData}
	// flood fills a stream until nobody takes more of it.
	flood := func(f *forwarder, stream spdy.StreamId) {
		for {
			for range 100 {
				f.write(stream, make([]byte, 1000))
			}
			_ = f.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			if f.flush() != nil {
				return
			}
		}
	}
	for name, use := range map[string]func(l *lab, f *forwarder){
		"that is gone before its streams are answered": func(_ *lab, f *forwarder) {
			for n := range uint32(8) {
				f.open(n, both...)
			}
			_ = f.flush()
			_ = f.Close()
		},
		"that has just opened its streams": func(_ *lab, f *forwarder) {
			for n := range uint32(8) {
				f.open(n, both...)
			}
			_ = f.flush()
		},
		"that says nothing": func(l *lab, f *forwarder) {
			f.open(0, both...)
			_ = f.flush()
			f.answered(l, 2)
		},
		"that floods a stream without a pair": func(l *lab, f *forwarder) {
			f.open(0, corev1.StreamTypeData)
			_ = f.flush()
			f.answered(l, 1)
			flood(f, 1)
		},
		"that floods the stream of errors": func(l *lab, f *forwarder) {
			f.open(0, both...)
			_ = f.flush()
			f.answered(l, 2)
			flood(f, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			first := l.init()
			config, err := rest.TLSConfigFor(l.config(first.Address))
			if err != nil {
				t.Fatal(err)
			}
			config.NextProtos = []string{"http/1.1"}
			var clients sync.WaitGroup
			for i := range 12 {
				f := l.forwarder(config, first.Address, "etcd-cp-1", i%2 == 0)
				t.Cleanup(func() { _ = f.Close() })
				clients.Go(func() { use(l, f) })
			}
			clients.Wait()
			off := make(chan struct{})
			go func() {
				defer close(off)
				l.powerOff(first)
			}()
			select {
			case <-off:
			case <-time.After(patience):
				t.Fatalf("the machine is not off yet; what runs:\n%s", goroutines())
			}
		})
	}
}
