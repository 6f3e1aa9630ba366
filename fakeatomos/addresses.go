package fakeatomos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

var c4Ports = []int{c4.MatcherPort, c4.StoragePort, c4.NetworkPort}

// FreeAddresses returns n loopback addresses on which C4's ports are free. They
// are drawn at random below 127.64.0.0, from where on others have ranges of
// their own, so that what runs side by side on one machine does not meet.
func FreeAddresses(n int) ([]netip.Addr, error) {
	found := make([]netip.Addr, 0, n)
	seen := map[netip.Addr]bool{}
	for range 100 * (n + 1) {
		if len(found) == n {
			return found, nil
		}
		a := netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(63)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
		if !seen[a] && bindable(a) {
			seen[a] = true
			found = append(found, a)
		}
	}
	return nil, fmt.Errorf("found only %d of %d loopback addresses with the ports %v free", len(found), n, c4Ports)
}

func bindable(a netip.Addr) bool {
	for _, port := range c4Ports {
		l, err := listenTCP(a, port)
		if err != nil {
			return false
		}
		if err := l.Close(); err != nil {
			return false
		}
	}
	return true
}

// listenTCP listens on an address of this machine, which never takes time.
func listenTCP(a netip.Addr, port int) (net.Listener, error) {
	var config net.ListenConfig
	at := netip.AddrPortFrom(a, uint16(port)).String()
	l, err := config.Listen(context.Background(), "tcp4", at)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	// A child that this process is starting holds the listeners that were open
	// at its fork, also one that was closed since, until it executes. The lock
	// is free when it has.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return config.Listen(context.Background(), "tcp4", at)
}

// FreeNetwork returns a random loopback prefix of that many bits (17 to 29) from
// 127.68.0.0 to 127.127.255.255, for a network whose guests are to listen on this
// machine. That nobody else draws the same one is likely, not certain: there is
// room for 15,360 networks of 24 bits.
func FreeNetwork(bits int) (netip.Prefix, error) {
	if bits < 17 || bits > 29 {
		return netip.Prefix{}, errors.New("ask for 17 to 29 bits")
	}
	a := netip.AddrFrom4([4]byte{127, byte(68 + rand.IntN(60)), byte(rand.IntN(256)), byte(rand.IntN(256))})
	return a.Prefix(bits)
}
