package world

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Block is a range of loopback addresses, 127.a.b.0/24, that no other world on
// the machine uses: ports on them are free unless someone listens on all
// addresses at once, and ports that a protocol fixes can be had as well.
type Block struct {
	a, b byte
	hold net.Listener

	mu    sync.Mutex
	given map[int]bool
}

// reserveBlock takes the first free block, and with it a name in the kernel's
// abstract socket namespace. That has the same scope as the addresses, admits
// one holder, and is given back when the process ends, however that comes about.
func reserveBlock() (*Block, error) {
	for a := byte(64); a < 128; a++ {
		for b := range byte(255) {
			hold, err := net.Listen("unix", fmt.Sprintf("@elemento-world-127.%d.%d", a, b))
			if errors.Is(err, syscall.EADDRINUSE) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("reserving loopback addresses: %w", err)
			}
			return &Block{a: a, b: b, hold: hold, given: map[int]bool{}}, nil
		}
	}
	return nil, errors.New("reserving loopback addresses: all of 127.64.0.0/10 are in use by other worlds; end some of them")
}

// Address is the block's n-th address, for n from 1 to 254.
func (b *Block) Address(n byte) string { return net.IPv4(127, b.a, b.b, n).String() }

// FreePort finds a TCP port that nothing listens on at the address, which must
// be one of the block's, and never gives the same one twice.
func (b *Block) FreePort(address string) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
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

func (b *Block) release() { _ = b.hold.Close() }
