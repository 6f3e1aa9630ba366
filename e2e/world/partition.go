package world

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"sync"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// link is a way from one to another that can be cut.
type link struct {
	from, to string
	proxy    *Proxy
}

// firstProxyAddress is the number, in the world's block, of the first address at
// which a daemon reaches a host through a proxy.
const firstProxyAddress = 64

// Partition cuts the ways between a and b until heal is called. They are names, or
// patterns (see [path.Match]) of names: [ElementoProvider] for all of our managers,
// that of a daemon ([DaemonProcess]), or a host's ID. "daemon-*" and "host-2" leave
// host-2 out of reach of all daemons; guests and their forwards are not affected. It
// is an error if there is no such way, as in a world that is not Proxied.
func (w *World) Partition(a, b string, how Cut) (heal func(), err error) {
	if how != Refuse && how != Drop {
		return nil, fmt.Errorf("there is no cut %q; it is %q or %q", how, Refuse, Drop)
	}
	return w.onLinks(a, b, "partition", string(how), func(p *Proxy) func() { return p.Cut(how) })
}

// Slow keeps all that goes between a and b back, each way, until restore is called.
// The names are those of [World.Partition].
func (w *World) Slow(a, b string, by time.Duration) (restore func(), err error) {
	return w.onLinks(a, b, "slow", by.String(), func(p *Proxy) func() { return p.Slow(by) })
}

// onLinks does something to the ways between a and b, and tells of it and its end.
func (w *World) onLinks(a, b, what, how string, do func(*Proxy) func()) (undo func(), err error) {
	var undos []func()
	for _, l := range w.links {
		matched, err := l.between(a, b)
		if err != nil {
			return nil, err
		}
		if matched {
			undos = append(undos, do(l.proxy))
		}
	}
	if len(undos) == 0 {
		return nil, fmt.Errorf("no way between %q and %q can be cut; our managers and daemons, and daemons and hosts, have one in a world that is Proxied", a, b)
	}
	name := fmt.Sprintf("%s of %s and %s", what, a, b)
	detail := map[string]string{"between": a, "and": b, "how": how}
	w.tellFault("added", name, detail)
	return sync.OnceFunc(func() {
		for _, undo := range undos {
			undo()
		}
		w.tellFault("removed", name, detail)
	}), nil
}

func (l link) between(a, b string) (bool, error) {
	var errs []error
	match := func(pattern, name string) bool {
		ok, err := path.Match(pattern, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", pattern, err))
		}
		return ok
	}
	forth, back := match(a, l.from) && match(b, l.to), match(b, l.from) && match(a, l.to)
	return forth || back, errors.Join(errs...)
}

// proxy starts a proxy that ends with the world.
func (s *site) proxy(address string, targets ...string) (*Proxy, error) {
	p, err := NewProxy(address, targets...)
	if err != nil {
		return nil, err
	}
	s.proxiesMu.Lock()
	defer s.proxiesMu.Unlock()
	s.proxies = append(s.proxies, p)
	return p, nil
}

// proxyDaemon makes a way for our managers to a daemon, at another port of its own
// address, so that its certificate is good for it.
func (w *World) proxyDaemon(d daemon) (endpoint string, err error) {
	port, err := w.block.FreePort(d.address)
	if err != nil {
		return "", err
	}
	p, err := w.proxy(hostPort(d.address, port), d.endpoint)
	if err != nil {
		return "", err
	}
	w.links = append(w.links, link{ElementoProvider, d.name, p})
	return p.Address(), nil
}

// proxyHosts makes ways for the n-th daemon to the hosts, each at an address of its
// own with C4's ports, and has the hosts lie there for it.
func (w *World) proxyHosts(n int, hosts []daemonHost) error {
	for i := range hosts {
		at, err := url.Parse(hosts[i].URL)
		if err != nil {
			return fmt.Errorf("host %s: %w", hosts[i].ID, err)
		}
		number := firstProxyAddress + (n-1)*len(hosts) + i
		if number > 254 {
			return fmt.Errorf("%d hosts are too many for daemon %d to have a proxy for each", len(hosts), n)
		}
		address := w.block.Address(byte(number))
		for _, port := range []int{c4.MatcherPort, c4.StoragePort, c4.NetworkPort} {
			p, err := w.proxy(hostPort(address, port), hostPort(at.Hostname(), port))
			if err != nil {
				return err
			}
			w.links = append(w.links, link{DaemonProcess(n), hosts[i].ID, p})
		}
		hosts[i].URL, hosts[i].ForwardAddress = at.Scheme+"://"+address, at.Hostname()
	}
	return nil
}
