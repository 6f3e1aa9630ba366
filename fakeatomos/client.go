package fakeatomos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Ready is what the binary writes once everything listens.
type Ready struct {
	Hosts []ReadyHost `json:"hosts"`
	// Control is the URL of the control listener, for Connect.
	Control string `json:"control,omitempty"`
}

// ReadyHost tells where a host is.
type ReadyHost struct {
	Name        string `json:"name"`
	Domain      string `json:"domain"`
	Address     string `json:"address"`
	URL         string `json:"url"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Ready tells where the hosts and the control listener are.
func (f *Fake) Ready() Ready {
	r := Ready{Hosts: []ReadyHost{}, Control: f.ControlURL()}
	for _, h := range f.hosts {
		r.Hosts = append(r.Hosts, ReadyHost{h.Name(), h.Domain(), h.Address().String(), h.URL(), h.Fingerprint()})
	}
	return r
}

// Control steers a fake in another process through its control listener. Its
// methods do what those of Fake and Host do. Safe for concurrent use.
type Control struct {
	url  string
	http *http.Client
}

// Connect returns a Control for the URL of a control listener. It does not
// connect yet. Calls without a deadline are given one minute.
func Connect(controlURL string) *Control {
	return &Control{url: strings.TrimSuffix(controlURL, "/"), http: &http.Client{Timeout: time.Minute}}
}

// Inventory returns all that the fake holds.
func (c *Control) Inventory(ctx context.Context) (Inventory, error) {
	return control[Inventory](ctx, c, http.MethodGet, "/inventory", nil)
}

// Down takes power from a host and its VMs.
func (c *Control) Down(ctx context.Context, host string) error {
	return c.befall(ctx, "hosts", host, "down", nil)
}

// Up gives a host its power back.
func (c *Control) Up(ctx context.Context, host string) error {
	return c.befall(ctx, "hosts", host, "up", nil)
}

// Isolate cuts the C4 services of a host off; its VMs run on.
func (c *Control) Isolate(ctx context.Context, host string) error {
	return c.befall(ctx, "hosts", host, "isolate", nil)
}

// Reconnect ends Isolate.
func (c *Control) Reconnect(ctx context.Context, host string) error {
	return c.befall(ctx, "hosts", host, "reconnect", nil)
}

// SetMaintenance sets what a host says of itself.
func (c *Control) SetMaintenance(ctx context.Context, host string, on bool) error {
	return c.befall(ctx, "hosts", host, "maintenance", switchBody{on})
}

// SetSlow holds every call to a host up for so long; 0 ends it.
func (c *Control) SetSlow(ctx context.Context, host string, delay time.Duration) error {
	return c.befall(ctx, "hosts", host, "slow", slowBody{duration(delay)})
}

// SetBootTime sets how long VMs of a host take from start to running.
func (c *Control) SetBootTime(ctx context.Context, host string, boot time.Duration) error {
	return c.befall(ctx, "hosts", host, "boots", bootsBody{duration(boot)})
}

// SetBlank has a host list nothing for so long whenever it comes up; 0 ends it.
func (c *Control) SetBlank(ctx context.Context, host string, after time.Duration) error {
	return c.befall(ctx, "hosts", host, "blank", blankBody{duration(after)})
}

// SetCapacity limits what all VMs of a host together can have; 0 is as
// configured, 1 leaves no room.
func (c *Control) SetCapacity(ctx context.Context, host string, slots int, memoryMiB int64) error {
	return c.befall(ctx, "hosts", host, "capacity", capacityBody{slots, memoryMiB})
}

// SetCommunity makes a host one of the Community Edition, or of another.
func (c *Control) SetCommunity(ctx context.Context, host string, on bool) error {
	return c.befall(ctx, "hosts", host, "community", switchBody{on})
}

// ShiftClock lets the clock of a host jump, forward or back.
func (c *Control) ShiftClock(ctx context.Context, host string, by time.Duration) error {
	return c.befall(ctx, "hosts", host, "clock", clockBody{by.String()})
}

// Wipe takes power from a host, and its VMs for ever; with disks also its
// volumes, networks and forwards. It comes back with Up.
func (c *Control) Wipe(ctx context.Context, host string, disks bool) error {
	return c.befall(ctx, "hosts", host, "wipe", wipeBody{disks})
}

// DomainDown takes power from all hosts of a domain.
func (c *Control) DomainDown(ctx context.Context, domain string) error {
	return c.befall(ctx, "domains", domain, "down", nil)
}

// DomainUp gives all hosts of a domain their power back.
func (c *Control) DomainUp(ctx context.Context, domain string) error {
	return c.befall(ctx, "domains", domain, "up", nil)
}

// CrashVM takes power from the VMs of that name or UID, on one host, or wherever
// they are if it is empty.
func (c *Control) CrashVM(ctx context.Context, host, name string) error {
	return c.befall(ctx, "vms", name, "crash"+at(host), nil)
}

// VanishVM takes VMs away, and with volumes also those that nobody else holds.
func (c *Control) VanishVM(ctx context.Context, host, name string, volumes bool) error {
	return c.befall(ctx, "vms", name, "vanish"+at(host), vanishBody{volumes})
}

// CutVM cuts the network of VMs that run on.
func (c *Control) CutVM(ctx context.Context, host, name string) error {
	return c.befall(ctx, "vms", name, "cut"+at(host), nil)
}

// MendVM gives VMs their network back.
func (c *Control) MendVM(ctx context.Context, host, name string) error {
	return c.befall(ctx, "vms", name, "mend"+at(host), nil)
}

// ChangeVM changes VMs by hand.
func (c *Control) ChangeVM(ctx context.Context, host, name string, change Change) error {
	return c.befall(ctx, "vms", name, "change"+at(host), change)
}

func at(host string) string { return "?host=" + url.QueryEscape(host) }

// befall lets an event happen to a host, a domain or VMs, and returns when it
// has.
func (c *Control) befall(ctx context.Context, whose, name, event string, body any) error {
	_, err := control[struct{}](ctx, c, http.MethodPost, "/"+whose+"/"+url.PathEscape(name)+"/"+event, body)
	return err
}

// Calls returns how many C4 calls arrived, by host and call.
func (c *Control) Calls(ctx context.Context) (map[string]map[string]int64, error) {
	return control[map[string]map[string]int64](ctx, c, http.MethodGet, "/calls", nil)
}

// Journal returns the changing calls after the entry of that number.
func (c *Control) Journal(ctx context.Context, since int64) ([]JournalEntry, error) {
	return control[[]JournalEntry](ctx, c, http.MethodGet, "/journal?since="+strconv.FormatInt(since, 10), nil)
}

// AddFault puts a fault in force and returns its ID.
func (c *Control) AddFault(ctx context.Context, f Fault) (string, error) {
	added, err := control[Fault](ctx, c, http.MethodPost, "/faults", f)
	return added.ID, err
}

// RemoveFaults takes out the fault of that ID, or all if it is empty.
func (c *Control) RemoveFaults(ctx context.Context, id string) error {
	path := "/faults"
	if id != "" {
		path += "/" + url.PathEscape(id)
	}
	_, err := control[struct{}](ctx, c, http.MethodDelete, path, nil)
	return err
}

// Faults lists the faults in force.
func (c *Control) Faults(ctx context.Context) ([]Fault, error) {
	return control[[]Fault](ctx, c, http.MethodGet, "/faults", nil)
}

func control[T any](ctx context.Context, c *Control, method, path string, body any) (out T, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fakeatomos control: %s %s: %w", method, path, err)
		}
	}()
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return out, err
		}
		payload = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, payload)
	if err != nil {
		return out, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return out, err
	}
	if resp.StatusCode/100 != 2 {
		return out, fmt.Errorf("HTTP %d: %s", resp.StatusCode, bytes.TrimSpace(raw))
	}
	if resp.StatusCode == http.StatusNoContent {
		return out, nil
	}
	return out, json.Unmarshal(raw, &out)
}
