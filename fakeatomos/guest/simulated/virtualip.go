package simulated

import (
	"context"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/history"
)

const (
	manifestsDir   = "/etc/kubernetes/manifests"
	keepalivedConf = "/etc/keepalived/keepalived.conf"

	// What kube-vip and keepalived do unless they are told otherwise.
	kubeVIPLease     = 5 * time.Second
	keepalivedAdvert = time.Second

	// vipRetry is when an address that could not be taken is tried again.
	vipRetry = time.Second
)

// virtualIP is what a control plane's seed says of the address that it holds in
// turn with others.
type virtualIP struct {
	address netip.Addr
	// lease is for how long the others wait after the holder's end.
	lease time.Duration
}

// readVirtualIP finds the virtual IP in the files of a control plane's seed; nil
// without one.
func readVirtualIP(files map[string][]byte, apiPort uint16) (*virtualIP, error) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Dir(name) != manifestsDir {
			continue
		}
		var pod corev1.Pod
		if yaml.Unmarshal(files[name], &pod) != nil || pod.Kind != "Pod" {
			continue // the kubelet passes it over
		}
		for _, container := range pod.Spec.Containers {
			if strings.Contains(path.Base(container.Image), "kube-vip") {
				return kubeVIP(container.Env, apiPort)
			}
		}
	}
	if text, ok := files[keepalivedConf]; ok {
		return keepalived(string(text))
	}
	return nil, nil
}

// kubeVIP reads what kube-vip is told by its environment. It serves no address
// in a way that is not simulated, or in none that works.
func kubeVIP(env []corev1.EnvVar, apiPort uint16) (*virtualIP, error) {
	told := map[string]string{"port": strconv.Itoa(defaultAPIPort), "vip_leaseduration": strconv.Itoa(int(kubeVIPLease.Seconds()))}
	for _, variable := range env {
		told[variable.Name] = variable.Value
	}
	if enabled, _ := strconv.ParseBool(told["cp_enable"]); !enabled {
		return nil, nil // services only
	}
	for _, must := range []string{"vip_arp", "vip_leaderelection"} {
		if on, _ := strconv.ParseBool(told[must]); !on {
			return nil, &SeedError{"kube-vip's " + must + " is not true, the only way that is simulated"}
		}
	}
	if told["port"] != strconv.Itoa(int(apiPort)) {
		return nil, &SeedError{"kube-vip's port is not the API server's"}
	}
	address, err := netip.ParseAddr(told["address"])
	if err != nil {
		return nil, &SeedError{"kube-vip's address is not an IP address"}
	}
	seconds, err := strconv.Atoi(told["vip_leaseduration"])
	if err != nil || seconds < 1 {
		return nil, &SeedError{"kube-vip's vip_leaseduration is not a number of seconds"}
	}
	return &virtualIP{address: address, lease: time.Duration(seconds) * time.Second}, nil
}

var (
	virtualAddress = regexp.MustCompile(`(?m)^\s*virtual_ipaddress\s*\{\s*([^\s/}]+)`)
	advertInterval = regexp.MustCompile(`(?m)^\s*advert_int\s+([0-9.]+)\s*$`)
)

// keepalived reads the address and the interval of a vrrp_instance. Backups give
// a master up that was silent for three intervals and a part of one that grows
// as their priority falls: it is a whole one here.
func keepalived(text string) (*virtualIP, error) {
	match := virtualAddress.FindStringSubmatch(text)
	if match == nil {
		return nil, nil
	}
	address, err := netip.ParseAddr(match[1])
	if err != nil {
		return nil, &SeedError{"keepalived's virtual_ipaddress is not an IP address"}
	}
	interval := keepalivedAdvert
	if match := advertInterval.FindStringSubmatch(text); match != nil {
		seconds, err := strconv.ParseFloat(match[1], 64)
		if err != nil || seconds < 0.01 || seconds > 255 {
			return nil, &SeedError{"keepalived's advert_int is not a number of seconds"}
		}
		interval = time.Duration(seconds * float64(time.Second))
	}
	return &virtualIP{address: address, lease: 4 * interval}, nil
}

// lease is who of a cluster's control planes holds a virtual IP. The cluster's
// mutex guards it.
type lease struct {
	address netip.Addr
	// holder had it last; nil before the first.
	holder *node
	// over is when another one than the last holder may take it.
	over time.Time
	// wake looks again when the time has come.
	wake *time.Timer
}

func (l *lease) stop() {
	if l.wake != nil {
		l.wake.Stop()
	}
}

// settleLeasesLocked brings the virtual IPs in line with the API servers that are
// open.
func (c *cluster) settleLeasesLocked(ctx context.Context) {
	for _, m := range c.members {
		if vip := m.node.control.vip; vip != nil && c.leases[vip.address] == nil {
			c.leases[vip.address] = &lease{address: vip.address}
		}
	}
	for _, l := range c.leases {
		c.settleLeaseLocked(ctx, l)
	}
}

func (c *cluster) settleLeaseLocked(ctx context.Context, l *lease) {
	l.stop()
	if l.holder != nil && l.holder.control.vipService != nil {
		if l.holder.control.serves() {
			return
		}
		c.releaseLocked(l)
	}
	heir := c.heirLocked(l)
	if heir == nil {
		return // whoever serves again settles
	}
	if wait := time.Until(l.over); wait > 0 && heir != l.holder {
		c.wakeLocked(l, wait)
		return
	}
	if err := heir.control.setVIP(ctx, true); err != nil {
		c.log.Warn("virtual IP cannot be taken", "address", l.address, "node", heir.name, "retry", vipRetry, "error", err)
		c.wakeLocked(l, vipRetry)
		return
	}
	l.holder = heir
	c.log.Info("virtual IP is held", "address", l.address, "node", heir.name)
	c.tell(history.Event{Event: "holder", VM: heir.vm.Name, UID: heir.vm.ID, Address: l.address.String()})
}

// releaseLocked takes the address from a holder that does not serve any more.
func (c *cluster) releaseLocked(l *lease) {
	control := l.holder.control
	_ = control.setVIP(context.Background(), false) // closing does not fail
	after := c.options.VIPTakeover
	if after == 0 {
		after = control.vip.lease
	}
	l.over = time.Now().Add(after)
	c.log.Info("virtual IP is held by nobody", "address", l.address, "last", l.holder.name, "another", after)
	c.tell(history.Event{Event: "holder", Address: l.address.String()})
}

// heirLocked is who takes the address next: the last holder if it serves again,
// or else the first that does.
func (c *cluster) heirLocked(l *lease) *node {
	may := func(n *node) bool {
		return n.control.serves() && n.control.vip != nil && n.control.vip.address == l.address
	}
	if l.holder != nil && may(l.holder) {
		return l.holder
	}
	for _, m := range c.members {
		if may(m.node) {
			return m.node
		}
	}
	return nil
}

// wakeLocked settles the address again after a while.
func (c *cluster) wakeLocked(l *lease, after time.Duration) {
	l.wake = time.AfterFunc(after, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.closed {
			c.settleLeaseLocked(context.Background(), l)
		}
	})
}
