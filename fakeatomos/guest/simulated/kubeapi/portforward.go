package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	constants "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

const (
	portForwardProtocol = "portforward.k8s.io"
	// portForwardIdle ends a forwarded connection on which nothing happens.
	portForwardIdle = 10 * time.Minute
	// forwardsAtOnce limits the streams that a client opened and did not pair.
	forwardsAtOnce = 64
)

// portForward turns the connection into a bundle of streams, each pair of
// which (data and error) is a connection to a port of the pod. It returns when
// the client's connection is closed or the server's context ends, and all that
// came from the client has ended.
func (s *Server) portForward(c *call) error {
	if _, err := s.Store.get(pods, c.key); err != nil {
		return err
	}
	streams := make(chan httpstream.Stream, forwardsAtOnce)
	accept := func(stream httpstream.Stream, _ <-chan struct{}) error {
		// What is not answered when the connection ends never is, and writing
		// to it, or closing it, waits for the answer. So only what is answered
		// gets on.
		if err := answer(stream); err != nil {
			return err
		}
		select {
		case streams <- stream:
			return nil
		default:
			return fmt.Errorf("more than %d streams wait", forwardsAtOnce)
		}
	}
	connection, err := c.upgrade(accept)
	if errors.Is(err, errAnswered) {
		return nil
	}
	if err != nil {
		return err
	}
	connection.SetIdleTimeout(portForwardIdle)
	ctx, cancel := context.WithCancel(c.Context())
	var forwards sync.WaitGroup
	defer forwards.Wait()
	defer connection.Close()
	defer cancel()
	pairs := map[string]*streamPair{}
	for {
		select {
		case <-connection.CloseChan():
			return nil
		case <-ctx.Done():
			// The end of a connection is not seen while a stream is full that
			// nobody reads.
			return nil
		case stream := <-streams:
			id := stream.Headers().Get(corev1.PortForwardRequestIDHeader)
			pair := pairs[id]
			if pair == nil {
				if len(pairs) == forwardsAtOnce {
					return nil
				}
				pair = &streamPair{}
				pairs[id] = pair
			}
			if !pair.add(stream) {
				continue
			}
			delete(pairs, id)
			forwards.Go(func() {
				defer connection.RemoveStreams(pair.data, pair.failure)
				// Closed, it would still hold up the connection with what
				// the client sends on it.
				defer func() { _ = pair.failure.Reset() }()
				defer pair.data.Close()
				defer pair.failure.Close()
				if err := s.forward(ctx, c.key, pair.data); err != nil {
					fmt.Fprintf(pair.failure, "forwarding to pod %s: %v", c.key, err)
					_ = pair.data.Reset()
				}
			})
		}
	}
}

// answer tells the client that its stream is open.
func answer(stream httpstream.Stream) error {
	opened, ok := stream.(interface {
		SendReply(headers http.Header, fin bool) error
	})
	if !ok {
		return fmt.Errorf("streams of type %T cannot be answered", stream)
	}
	if err := opened.SendReply(http.Header{}, false); err != nil {
		return fmt.Errorf("answer a stream: %w", err)
	}
	return nil
}

// tunnel upgrades to a WebSocket that carries SPDY, which is what clients ask
// for first.
var tunnel = websocket.Upgrader{
	Subprotocols: []string{constants.WebsocketsSPDYTunnelingPrefix + portForwardProtocol},
	// The Origin matters to browsers with cookies; this API knows none.
	CheckOrigin: func(*http.Request) bool { return true },
}

// errAnswered tells that a failed upgrade has answered the client itself, or
// taken the connection, on which nothing more can be said.
var errAnswered = errors.New("the upgrade failed and has answered")

// upgrade takes the connection over for streams: SPDY through a WebSocket, or
// SPDY itself.
func (c *call) upgrade(accept httpstream.NewStreamHandler) (httpstream.Connection, error) {
	switch {
	case websocket.IsWebSocketUpgrade(c.Request):
		upgraded, err := tunnel.Upgrade(c.w, c.Request, nil)
		if err != nil {
			return nil, errAnswered
		}
		if upgraded.Subprotocol() == "" {
			_ = upgraded.Close()
			return nil, errAnswered
		}
		connection, err := spdy.NewServerConnection(portforward.NewTunnelingConnection("server", upgraded), accept)
		if err != nil {
			return nil, errAnswered
		}
		return connection, nil
	case httpstream.IsUpgradeRequest(c.Request) && c.Method == http.MethodPost:
		if _, err := httpstream.Handshake(c.Request, c.w, []string{portForwardProtocol}); err != nil {
			return nil, errAnswered
		}
		if connection := spdy.NewResponseUpgrader().UpgradeResponse(c.w, c.Request, accept); connection != nil {
			return connection, nil
		}
		return nil, errAnswered
	}
	return nil, apierrors.NewBadRequest("port forwarding needs an upgrade to a WebSocket or to SPDY")
}

// streamPair are the two streams of one forwarded connection.
type streamPair struct{ data, failure httpstream.Stream }

// add takes a stream and tells whether the pair is complete.
func (p *streamPair) add(stream httpstream.Stream) bool {
	switch stream.Headers().Get(corev1.StreamType) {
	case corev1.StreamTypeData:
		p.data = stream
	case corev1.StreamTypeError:
		p.failure = stream
	}
	return p.data != nil && p.failure != nil
}

// forward copies between a stream and the pod's port until either side ends.
func (s *Server) forward(ctx context.Context, pod key, stream httpstream.Stream) error {
	port, err := strconv.ParseUint(stream.Headers().Get(corev1.PortHeader), 10, 16)
	if err != nil {
		return fmt.Errorf("header %s is not a port", corev1.PortHeader)
	}
	target, err := s.DialPod(ctx, pod.namespace, pod.name, uint16(port))
	if err != nil {
		return err
	}
	var copies sync.WaitGroup
	end := func() { _ = target.Close(); _ = stream.Reset() }
	stop := context.AfterFunc(ctx, end)
	defer stop()
	copies.Go(func() {
		if _, err := io.Copy(target, stream); err != nil || closeWrite(target) != nil {
			end()
		}
	})
	copies.Go(func() {
		if _, err := io.Copy(stream, target); err != nil || stream.Close() != nil {
			end()
		}
	})
	copies.Wait()
	end()
	return nil
}

// closeWrite tells the other end that nothing more will come; it may still
// have something to say.
func closeWrite(connection net.Conn) error {
	if half, ok := connection.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return connection.Close()
}
