package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Block is a range of loopback addresses, 127.a.b.0/24, and of ports, that no
// other world on the machine uses while this one lives. In a world with containers
// the addresses are of the world's Docker network.
type Block struct {
	number int
	hold   net.Listener
	// network is where the addresses are instead, so that containers reach them; nil
	// where there are none.
	network *dockerNetwork

	mu    sync.Mutex
	given map[int]bool
}

const (
	blocks = 1000
	// Ports below those that the kernel gives to outgoing connections, which
	// are in the way of a listener on all addresses.
	firstWildcardPort = 16000
	wildcardPorts     = 16
)

// reserveBlock takes the first free block, and with it a name in the kernel's
// abstract socket namespace. That has the same scope as the addresses, admits
// one holder, and is given back when the process ends, however that comes about.
func reserveBlock() (*Block, error) {
	for number := range blocks {
		hold, err := holdBlock(number)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reserving loopback addresses: %w", err)
		}
		return &Block{number: number, hold: hold, given: map[int]bool{}}, nil
	}
	return nil, fmt.Errorf("reserving loopback addresses: %d other worlds have them all; end some of them", blocks)
}

// holdBlock takes one block's name; the error is EADDRINUSE while a world has it.
func holdBlock(number int) (net.Listener, error) {
	return listen("unix", fmt.Sprintf("@elemento-world-%d", number))
}

// listen listens on a local address, which is done at once or not at all: there
// is nothing to cancel.
func listen(network, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), network, address)
}

// Address is the block's n-th address, for n from 1 to 254.
func (b *Block) Address(n byte) string {
	if b.network != nil {
		return b.network.at(ownAddresses + int(n)).String()
	}
	return b.loopback(n)
}

// loopback is the n-th loopback address, in a world with containers too.
func (b *Block) loopback(n byte) string {
	return net.IPv4(127, byte(64+b.number/250), byte(b.number%250), n).String()
}

// guestNetwork is a range of 4,096 addresses of this world's own.
func (b *Block) guestNetwork() string {
	if b.network != nil {
		return b.network.guests().String()
	}
	const perWorld = 4096
	first := uint32(127)<<24 | 128<<16
	first += uint32(b.number) * perWorld
	return net.IPv4(byte(first>>24), byte(first>>16), byte(first>>8), byte(first)).String() + "/20"
}

// FreePort finds a TCP port that nothing listens on at the address, which must
// be one of the block's, and never gives the same one twice. Since no one else
// uses the address, the port stays free until it is used.
func (b *Block) FreePort(address string) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		l, err := listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
		if !b.given[port] {
			b.given[port] = true
			return port, nil
		}
	}
}

// WildcardPort finds a TCP port for a program that cannot be told an address
// and listens on all of them. It never gives the same one twice.
func (b *Block) WildcardPort() (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := firstWildcardPort + b.number*wildcardPorts
	for port := first; port < first+wildcardPorts; port++ {
		if b.given[port] {
			continue
		}
		l, err := listen("tcp", fmt.Sprintf(":%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
		b.given[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("looking for a free port: all of %d to %d are in use", first, first+wildcardPorts-1)
}

func (b *Block) release() { _ = b.hold.Close() }
