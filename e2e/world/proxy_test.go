package world

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// echo sends back what it is sent, and ends when its caller does.
func echo(t *testing.T) string {
	t.Helper()
	l, err := listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func proxied(t *testing.T, targets ...string) *Proxy {
	t.Helper()
	p, err := NewProxy("127.0.0.1:0", targets...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// says tells what comes back of a word within a time.
func says(t *testing.T, conn net.Conn, word string, within time.Duration) error {
	t.Helper()
	if _, err := conn.Write([]byte(word)); err != nil {
		return err
	}
	return hears(t, conn, word, within)
}

func hears(t *testing.T, conn net.Conn, word string, within time.Duration) error {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	back := make([]byte, len(word))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if string(back) != word {
		t.Errorf("%q came back as %q", word, back)
	}
	return nil
}

const (
	soon   = 10 * time.Second
	aWhile = 100 * time.Millisecond
)

func timedOut(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}

func TestAProxyHandsOnWholeStreamsAndTheirEnds(t *testing.T) {
	t.Parallel()
	p := proxied(t, "127.0.0.1:1", echo(t)) // nobody listens on the first one
	conn := dial(t, p.Address())
	sent := bytes.Repeat([]byte("all of it "), 100_000)
	go func() {
		_, _ = conn.Write(sent)
		_ = conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back of %d: %v", len(got), len(sent), err)
	}
}

func TestARefusingProxyResetsAndTakesAgain(t *testing.T) {
	t.Parallel()
	p := proxied(t, echo(t))
	before := dial(t, p.Address())
	if err := says(t, before, "before", soon); err != nil {
		t.Fatal(err)
	}
	heal := p.Cut(Refuse)
	if err := hears(t, before, "anything", soon); err == nil || timedOut(err) {
		t.Errorf("one that was there: %v; want it reset", err)
	}
	// A new one may be reset before it is there.
	after, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Address())
	if err == nil {
		defer after.Close()
		err = hears(t, after, "anything", soon)
	}
	if err == nil || timedOut(err) {
		t.Errorf("a new one: %v; want it reset", err)
	}
	heal()
	heal()
	if err := says(t, dial(t, p.Address()), "after", soon); err != nil {
		t.Error(err)
	}
}

func TestADroppingProxyIsSilentAndGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	p := proxied(t, echo(t))
	before := dial(t, p.Address())
	if err := says(t, before, "before", soon); err != nil {
		t.Fatal(err)
	}
	heal, healToo := p.Cut(Drop), p.Cut(Drop)
	during := dial(t, p.Address())
	for _, conn := range []net.Conn{before, during} {
		if err := says(t, conn, "during", aWhile); !timedOut(err) {
			t.Errorf("through a proxy that drops: %v", err)
		}
	}
	heal()
	heal()
	if err := hears(t, before, "during", aWhile); !timedOut(err) {
		t.Errorf("through a proxy that is still cut: %v", err)
	}
	healToo()
	for _, conn := range []net.Conn{before, during} {
		if err := hears(t, conn, "during", soon); err != nil {
			t.Error(err)
		}
	}
}

func TestASlowProxyTakesItsTimeEachWay(t *testing.T) {
	t.Parallel()
	p := proxied(t, echo(t))
	conn := dial(t, p.Address())
	restore := p.Slow(aWhile)
	began := time.Now()
	if err := says(t, conn, "slow", soon); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*aWhile {
		t.Errorf("there and back took %s only", took)
	}
	restore()
	if err := says(t, conn, "quick", soon); err != nil {
		t.Error(err)
	}
}
