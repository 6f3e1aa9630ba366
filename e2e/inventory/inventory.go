// Package inventory lists what a client owns on AtomOS. It asks the hosts by C4
// and nothing else, so that it tells the same of a fake and of the real one, and
// believes no word of the provider under test.
package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// Kind is a kind of resource on AtomOS.
type Kind string

// The kinds. Seeds are volumes to C4.
const (
	VM      Kind = "vm"
	Volume  Kind = "volume"
	Network Kind = "network"
	Forward Kind = "forward"
)

// Resource is one thing on one host.
type Resource struct {
	Host string `json:"host"`
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	// ID is the host's own: a VM that was made again has another one.
	ID string `json:"id"`
}

func (r Resource) String() string {
	return fmt.Sprintf("%s %s (%s) on %s", r.Kind, r.Name, r.ID, r.Host)
}

// Inventory is what a client owns, in a fixed order.
type Inventory []Resource

// Hosts are the hosts of an AtomOS, and the client whose things are looked at.
type Hosts struct {
	ClientUID string
	clients   []*c4.Client
}

// Connect prepares to ask the hosts; it does not connect to them yet.
func Connect(clientUID string, hosts ...c4.Config) (*Hosts, error) {
	if clientUID == "" {
		return nil, errors.New("taking an inventory needs a client UUID")
	}
	if len(hosts) == 0 {
		return nil, errors.New("taking an inventory needs at least one host")
	}
	h := &Hosts{ClientUID: clientUID}
	for _, config := range hosts {
		c, err := c4.New(config)
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", config.URL, err)
		}
		h.clients = append(h.clients, c)
	}
	return h, nil
}

// Close gives idle connections up.
func (h *Hosts) Close() {
	for _, c := range h.clients {
		c.Close()
	}
}

// Manufacturers are those who made the hosts, as they say themselves, each once.
func (h *Hosts) Manufacturers(ctx context.Context) ([]string, error) {
	var makers []string
	for _, c := range h.clients {
		info, err := c.Info(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking host %s who made it: %w", c.Host(), err)
		}
		makers = append(makers, info.Manufacturer)
	}
	slices.Sort(makers)
	return slices.Compact(makers), nil
}

// Take lists everything that the client owns on any host. A host that does not
// answer is an error: nothing could be said of what is on it.
func (h *Hosts) Take(ctx context.Context) (Inventory, error) {
	found := make([]Inventory, len(h.clients))
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range h.clients {
		group.Go(func() (err error) {
			if found[i], err = h.takeOne(ctx, c); err != nil {
				return fmt.Errorf("taking the inventory of host %s: %w", c.Host(), err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(found...)
	slices.SortFunc(all, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

func (h *Hosts) takeOne(ctx context.Context, c *c4.Client) (Inventory, error) {
	var found Inventory
	add := func(kind Kind, name, id string) {
		found = append(found, Resource{Host: c.Host(), Kind: kind, Name: name, ID: id})
	}
	vms, _, _, err := c.VMs(ctx, h.ClientUID, nil)
	if err != nil {
		return nil, err
	}
	for _, vm := range vms {
		add(VM, vm.Name, vm.UID)
	}
	volumes, err := c.Volumes(ctx, h.ClientUID)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		if v.CreatorID == h.ClientUID { // others may be accessible too
			add(Volume, v.Name, v.VolumeID)
		}
	}
	networks, err := c.Networks(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		if n.CreatorUID == h.ClientUID {
			add(Network, n.Name, n.NetworkUID)
		}
	}
	forwards, err := c.Forwards(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range forwards {
		if f.CreatorUID == h.ClientUID {
			add(Forward, fmt.Sprintf("%s/%d", f.Protocol, f.Port), f.ForwardUID)
		}
	}
	return found, nil
}

// Of are the resources of one kind.
func (i Inventory) Of(kind Kind) Inventory {
	var found Inventory
	for _, r := range i {
		if r.Kind == kind {
			found = append(found, r)
		}
	}
	return found
}

// Names are those of the resources, in order.
func (i Inventory) Names() []string {
	names := make([]string, 0, len(i))
	for _, r := range i {
		names = append(names, r.Name)
	}
	return names
}

// Without are the resources that the other inventory does not have.
func (i Inventory) Without(other Inventory) Inventory {
	var rest Inventory
	for _, r := range i {
		if !slices.Contains(other, r) {
			rest = append(rest, r)
		}
	}
	return rest
}

func (i Inventory) String() string {
	if len(i) == 0 {
		return "nothing"
	}
	lines := make([]string, 0, len(i))
	for _, r := range i {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "\n")
}
