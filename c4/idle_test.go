package c4_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// oneRequestEach answers the first request of each connection to the storage service at
// an address, and closes it when the next one comes, as a host does that has just found it
// idle. It tells of each connection that its client closes.
func oneRequestEach(t *testing.T) (url string, closed <-chan string) {
	t.Helper()
	addresses, err := fakeatomos.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", net.JoinHostPort(addresses[0].String(), "7772"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	tell := make(chan string, 10)
	serve := func(conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{\"volumeID\":\"v-1\"}")
		if _, err := r.ReadByte(); err != nil {
			tell <- req.URL.Path
		}
	}
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return "http://" + addresses[0].String(), tell
}

func TestAChangeGoesOverNoConnectionThatHasBeenIdleForLong(t *testing.T) {
	t.Parallel()
	url, closed := oneRequestEach(t)
	c, err := c4.New(c4.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	create := func() error {
		_, err := c.CreateVolume(t.Context(), c4.VolumeRequest{Name: "v"})
		return err
	}
	if _, err := c.Volume(t.Context(), "v-1"); err != nil {
		t.Fatal(err)
	}
	if err := create(); err != nil {
		t.Fatalf("a change after a read: %v", err)
	}
	select {
	case path := <-closed:
		if path != c4.BasePath+"/create" {
			t.Fatalf("the connection of %s was closed, want that of the change", path)
		}
	case <-time.After(30 * time.Second): // that of a read would last 90
		t.Fatal("the connection of a change is kept")
	}
	if err := create(); err != nil {
		t.Fatalf("a change after a pause: %v", err)
	}
}
