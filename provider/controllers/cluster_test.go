package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/util/conditions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/daemon"
	"elemento.cloud/cluster-api-provider-elemento/e2e/pki"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
	infrav1 "elemento.cloud/cluster-api-provider-elemento/provider/api/v1beta1"
	"elemento.cloud/cluster-api-provider-elemento/provider/fleet"
)

func TestClustersThatComeAtOnceGetEndpointsOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	var clusters []*infrav1.ElementoCluster
	for i := range 4 {
		_, c := s.cluster(func(c *infrav1.ElementoCluster) {
			c.Spec.Network.Managed.CIDR = "127.8" + string(rune('0'+i)) + ".0.0/16"
		})
		clusters = append(clusters, c)
	}
	seen := map[infrav1.APIEndpoint]string{}
	for _, c := range clusters {
		eventually(s, c, "the cluster is provisioned", func() bool { return c.Status.Initialization.Provisioned != nil })
		if other, taken := seen[c.Spec.ControlPlaneEndpoint]; taken {
			t.Errorf("clusters %s and %s have the endpoint %v", other, c.Name, c.Spec.ControlPlaneEndpoint)
		}
		seen[c.Spec.ControlPlaneEndpoint] = c.Name
		if c.Spec.EndpointHost != "host-1" || c.Spec.Network.Name == "" {
			t.Errorf("spec is %+v", c.Spec)
		}
		awaitCondition(s, c, infrav1.ReadyCondition, infrav1.WaitingForControlPlaneReason)
	}
	for _, c := range clusters {
		s.remove(c)
	}
	s.wantNothingLeft()
}

func TestTheForwardFollowsTheControlPlane(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	firstMachine, first := s.provisionedMachine(cluster, controlPlane)
	eventually(s, infra, "the endpoint leads to the first control plane", func() bool { return infra.Status.EndpointTarget == first.Spec.VMName })
	s.joined(firstMachine)
	secondMachine, second := s.provisionedMachine(cluster, controlPlane)
	s.joined(secondMachine)
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
	if first.Spec.Host == second.Spec.Host {
		t.Error("both control planes are on one host, and another is free")
	}
	if target := s.forwardTarget(); target != first.Spec.VMName {
		t.Errorf("the forward leads to %s without need", target)
	}

	s.destroyByHand(first)
	gone := time.Now()
	s.await("the forward leads to the second control plane", func() bool { return s.forwardTarget() == second.Spec.VMName }, func() string { return describe(infra) })
	if took := time.Since(gone); took > 5*time.Second {
		t.Errorf("it took %s to point the forward elsewhere", took)
	}
	eventually(s, infra, "the status says so", func() bool { return infra.Status.EndpointTarget == second.Spec.VMName })
	s.awaitEvent(infra, "EndpointPointed")

	must(0, s.Delete(s.ctx(), infra))
	c := awaitCondition(s, infra, infrav1.DeletingCondition, infrav1.WaitingForMachinesReason)
	if !strings.Contains(c.Message, "2 machines") {
		t.Errorf("message is %q", c.Message)
	}
	s.remove(first)
	s.remove(second)
	s.awaitGone(infra)
	s.wantNothingLeft()
}

func TestTheForwardFollowsTheControlPlaneThoughAHostTakesNoNetwork(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 3})
	third := must(s.fake.Host("host-3"))
	third.Down() // so that the network is still to be made there
	cluster, infra := s.provisionedCluster()
	firstMachine, first := s.provisionedMachine(cluster, controlPlane)
	s.joined(firstMachine)
	secondMachine, second := s.provisionedMachine(cluster, controlPlane)
	s.joined(secondMachine)
	s.await("the forward leads to the first control plane", func() bool { return s.forwardTarget() == first.Spec.VMName }, func() string { return describe(infra) })

	broken := s.fault(fakeatomos.Fault{Host: "host-3", Call: "POST network/create", Effect: fakeatomos.Refuse, Status: 500})
	must(0, third.Up())
	awaitCondition(s, infra, infrav1.NetworkReadyCondition, infrav1.HostFailedReason)
	s.destroyByHand(first)
	s.await("the forward leads to the second control plane", func() bool { return s.forwardTarget() == second.Spec.VMName }, func() string { return describe(infra) })
	s.fake.RemoveFaults(broken)
	awaitCondition(s, infra, infrav1.NetworkReadyCondition, infrav1.ProvisionedReason)
}

func TestTheForwardFollowsTheControlPlaneThoughADomainIsUnknown(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	cluster, infra := s.provisionedCluster()
	firstMachine, first := s.provisionedMachine(cluster, controlPlane)
	s.joined(firstMachine)
	secondMachine, second := s.provisionedMachine(cluster, controlPlane)
	s.joined(secondMachine)
	s.await("the forward leads to the first control plane", func() bool { return s.forwardTarget() == first.Spec.VMName }, func() string { return describe(infra) })

	edit(s, infra, func(c *infrav1.ElementoCluster) { c.Spec.Domains = []string{"d1", "d9"} })
	awaitCondition(s, infra, infrav1.DomainsAvailableCondition, infrav1.DomainUnknownReason)
	s.destroyByHand(first)
	s.await("the forward leads to the second control plane", func() bool { return s.forwardTarget() == second.Spec.VMName }, func() string { return describe(infra) })
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.DomainUnknownReason)
	if len(infra.Status.FailureDomains) != 1 {
		t.Errorf("the failure domains are %v, want them as they were", infra.Status.FailureDomains)
	}
}

func TestTheForwardLeavesAControlPlaneWhoseMachineGoes(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	firstMachine, first := s.provisionedMachine(cluster, controlPlane, func(m *clusterv1.Machine, _ *infrav1.ElementoMachine) {
		m.Finalizers = []string{"example.com/etcd-member"} // as long as it is removed elsewhere
	})
	s.joined(firstMachine)
	s.await("the forward leads to the first control plane", func() bool { return s.forwardTarget() == first.Spec.VMName }, func() string { return describe(infra) })
	secondMachine, second := s.provisionedMachine(cluster, controlPlane)
	s.joined(secondMachine)
	must(0, s.Delete(s.ctx(), firstMachine))
	deleted := time.Now()
	s.await("the forward leads to the second control plane", func() bool { return s.forwardTarget() == second.Spec.VMName }, func() string { return describe(infra) })
	if len(s.vms()[first.Spec.VMName]) != 1 {
		t.Error("the first VM is gone before its ElementoMachine is deleted")
	}
	if took := time.Since(deleted); took > 5*time.Second {
		t.Errorf("the forward led to a control plane on its way out for %s", took)
	}
	edit(s, firstMachine, func(m *clusterv1.Machine) { m.Finalizers = nil })
}

// forwardTarget is the name of the VM to which the site's only forward leads.
func (s *site) forwardTarget() string {
	for _, host := range s.fake.Inventory().Hosts {
		for _, forward := range host.Forwards {
			for name, vms := range s.vms() {
				if slices.ContainsFunc(vms, func(vm fakeatomos.VMInventory) bool {
					return vm.UID == forward.TargetVMUID || vm.Address == forward.Target // on another host it has no UID
				}) {
					return name
				}
			}
		}
	}
	return ""
}

func TestAClusterThatCannotBeSaysWhy(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	broken := s.identity("broken-elemento-identity")
	broken.Data[fleet.KeyCertificate] = []byte("not a certificate")
	s.create(broken)
	incomplete := s.identity("incomplete-elemento-identity")
	delete(incomplete.Data, fleet.KeyClientUID)
	s.create(incomplete)
	forbidden := s.identity("forbidden-elemento-identity")
	forbidden.Data[fleet.KeyClientUID] = []byte("22222222-2222-4222-8222-222222222222")
	s.create(forbidden)
	foreign := s.identity("foreign-elemento-identity")
	foreign.Data[fleet.KeyAuthority] = must(pki.NewAuthority("another")).PEM
	s.create(foreign)
	away := s.identity("away-elemento-identity")
	away.Data[fleet.KeyEndpoints] = []byte("127.0.0.1:9")
	s.create(away)

	identity := func(name string) func(*infrav1.ElementoCluster) {
		return func(c *infrav1.ElementoCluster) { c.Spec.IdentityRef.Name = name }
	}
	for name, c := range map[string]struct {
		edit              func(*infrav1.ElementoCluster)
		condition, reason string
		words             []string
	}{
		"a domain that no daemon knows": {
			func(c *infrav1.ElementoCluster) { c.Spec.Domains = []string{"d1", "nowhere"} },
			infrav1.DomainsAvailableCondition, infrav1.DomainUnknownReason, []string{"nowhere", "the daemons know d1"},
		},
		"a NAT network over two hosts": {
			func(c *infrav1.ElementoCluster) { c.Spec.Network.Managed.Mode = infrav1.NetworkModeNAT },
			infrav1.NetworkReadyCondition, infrav1.NATSpansHostsReason, []string{"mode NAT", "d1 have 2", "Bridged"},
		},
		"no identity at all": {
			identity(""),
			infrav1.IdentityAvailableCondition, infrav1.IdentityNotFoundReason, []string{"spec.identityRef", "--default-identity"},
		},
		"an identity that does not exist": {
			identity("absent-elemento-identity"),
			infrav1.IdentityAvailableCondition, infrav1.IdentityNotFoundReason, []string{"absent-elemento-identity", "does not exist", fleet.KeyEndpoints},
		},
		"an identity with a broken certificate": {
			identity("broken-elemento-identity"),
			infrav1.IdentityAvailableCondition, infrav1.IdentityInvalidReason, []string{`key "tls.crt"`},
		},
		"an identity without a key": {
			identity("incomplete-elemento-identity"),
			infrav1.IdentityAvailableCondition, infrav1.IdentityInvalidReason, []string{`key "clientUID" is missing`},
		},
		"an identity for somebody else's client UUID": {
			identity("forbidden-elemento-identity"),
			infrav1.IdentityAvailableCondition, infrav1.ClientForbiddenReason, nil,
		},
		"an identity whose daemons are away": {
			identity("away-elemento-identity"),
			infrav1.IdentityAvailableCondition, infrav1.DaemonUnreachableReason, []string{"127.0.0.1:9"},
		},
		"an identity that does not trust the daemons": {
			identity("foreign-elemento-identity"),
			infrav1.IdentityAvailableCondition, infrav1.DaemonUntrustedReason, []string{"ca.crt"},
		},
		"an endpoint that nobody gives": {
			func(c *infrav1.ElementoCluster) { c.Spec.EndpointMode = infrav1.EndpointModeExternal },
			infrav1.EndpointReadyCondition, infrav1.WaitingForControlPlaneEndpointReason, []string{"spec.controlPlaneEndpoint"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, infra := s.cluster(c.edit)
			condition := awaitCondition(s, infra, c.condition, c.reason)
			for _, word := range c.words {
				if !strings.Contains(condition.Message, word) {
					t.Errorf("message %q does not say %q", condition.Message, word)
				}
			}
			ready := conditions.Get(infra, infrav1.ReadyCondition)
			if ready.Reason != c.reason || infra.Status.Initialization.Provisioned != nil {
				t.Errorf("not ready for another reason, or provisioned:\n%s", describe(infra))
			}
			s.remove(infra)
		})
	}
	s.wantNothingLeft()
}

func TestANetworkThatIsNotAsTheClusterSaysByNowIsToldOfBeforeThereAreMachines(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	host := must(s.fake.Host("host-1"))
	host.SetMaintenance(true) // so that there is a network and no endpoint
	_, infra := s.cluster()
	awaitCondition(s, infra, infrav1.EndpointReadyCondition, infrav1.NoCapacityReason)
	cidr := infra.Spec.Network.Managed.CIDR
	edit(s, infra, func(c *infrav1.ElementoCluster) { c.Spec.Network.Managed.CIDR = "127.89.0.0/16" })
	c := awaitCondition(s, infra, infrav1.NetworkReadyCondition, infrav1.InvalidRequestReason)
	if !strings.Contains(c.Message, cidr) || !strings.Contains(c.Message, "127.89.0.0/16") {
		t.Errorf("message is %q", c.Message)
	}
	edit(s, infra, func(c *infrav1.ElementoCluster) { c.Spec.Network.Managed.CIDR = cidr })
	host.SetMaintenance(false)
	eventually(s, infra, "the cluster is provisioned", func() bool { return infra.Status.Initialization.Provisioned != nil })
}

func TestAnEventIsWrittenThoughThereIsMuchToSay(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	_, infra := s.cluster(func(c *infrav1.ElementoCluster) {
		for i := range 40 {
			c.Spec.Domains = append(c.Spec.Domains, fmt.Sprintf("building-%02d.floor-%02d.room-with-a-long-name", i, i))
		}
	})
	c := awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.DomainUnknownReason)
	if !strings.Contains(c.Message, "building-39") {
		t.Errorf("the condition has room for all of them: %s", c.Message)
	}
	s.awaitEvent(infra, infrav1.DomainUnknownReason)
}

func TestAnIdentityThatIsMendedIsUsed(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	secret := s.identity("mended-elemento-identity")
	good := secret.Data[fleet.KeyAuthority]
	secret.Data[fleet.KeyAuthority] = []byte("nothing")
	s.create(secret)
	_, infra := s.cluster(func(c *infrav1.ElementoCluster) { c.Spec.IdentityRef.Name = secret.Name })
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.IdentityInvalidReason)
	edit(s, secret, func(secret *corev1.Secret) { secret.Data[fleet.KeyAuthority] = good })
	eventually(s, infra, "the cluster is provisioned", func() bool { return infra.Status.Initialization.Provisioned != nil })
}

func TestAClusterSaysWhenItsDaemonsAreAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	_, infra := s.provisionedCluster()
	s.daemons[0].stop()
	s.daemons[1].stop()
	c := awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.DaemonUnreachableReason)
	if c.Status != metav1.ConditionUnknown || infra.Status.Initialization.Provisioned == nil {
		t.Errorf("want it unknown, and provisioned as ever:\n%s", describe(infra))
	}
}

func TestAnEndpointMayBeGivenOnTheClusterLater(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.cluster(func(c *infrav1.ElementoCluster) { c.Spec.EndpointMode = infrav1.EndpointModeExternal })
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.WaitingForControlPlaneEndpointReason)
	edit(s, cluster, func(c *clusterv1.Cluster) {
		c.Spec.ControlPlaneEndpoint = clusterv1.APIEndpoint{Host: "api.example.com", Port: 6443}
	})
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
	if infra.Status.Initialization.Provisioned == nil || !infra.Spec.ControlPlaneEndpoint.IsZero() {
		t.Errorf("%+v", infra)
	}
}

func TestAClusterForWhichNothingWasEverMadeGoesWithoutItsIdentity(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	for what, edit := range map[string]func(*infrav1.ElementoCluster){
		"a named network": func(c *infrav1.ElementoCluster) { c.Spec.Network.Name = "mine" },
		"an endpoint that is given": func(c *infrav1.ElementoCluster) {
			c.Spec.EndpointHost, c.Spec.ControlPlaneEndpoint = "host-1", infrav1.APIEndpoint{Host: "192.0.2.1", Port: 6443}
		},
		"a network that is there": func(c *infrav1.ElementoCluster) { c.Spec.Network = infrav1.ClusterNetwork{Name: "lan"} },
	} {
		_, infra := s.cluster(func(c *infrav1.ElementoCluster) { c.Spec.IdentityRef.Name = "typo-elemento-identity" }, edit)
		awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.IdentityNotFoundReason)
		t.Log(what)
		s.remove(infra)
	}
	s.wantNothingLeft()
}

func TestOnlyHostsThatMayHaveTheNetworkKeepAClusterFromGoing(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1, "d2": 1, "d3": 1})
	inD1 := func(c *infrav1.ElementoCluster) { c.Spec.Domains = []string{"d1"} }
	networks := func() (where []string) {
		for _, host := range s.fake.Inventory().Hosts {
			if len(host.Networks) > 0 {
				where = append(where, host.Name)
			}
		}
		return where
	}
	_, small := s.provisionedCluster(inD1)
	must(0, s.fake.DomainDown("d3"))
	s.remove(small)
	s.wantNothingLeft()

	// Where a machine was, and where the cluster was before, there may be one.
	cluster, infra := s.provisionedCluster(inD1)
	_, m := s.provisionedMachine(cluster, func(m *clusterv1.Machine, _ *infrav1.ElementoMachine) { m.Spec.FailureDomain = "d2" })
	s.remove(m)
	if where := networks(); !slices.Equal(where, []string{"host-1", "host-2"}) {
		t.Fatalf("the network is on %v", where)
	}
	edit(s, infra, func(c *infrav1.ElementoCluster) { c.Spec.Domains = []string{"d2"} })
	eventually(s, infra, "its failure domain is the other", func() bool {
		return len(infra.Status.FailureDomains) == 1 && infra.Status.FailureDomains[0].Name == "d2"
	})
	must(0, s.fake.DomainDown("d1"))
	must(0, s.Delete(s.ctx(), infra))
	c := awaitCondition(s, infra, infrav1.DeletingCondition, infrav1.WaitingForHostDeletionReason)
	if !strings.Contains(c.Message, "host-1") || strings.Contains(c.Message, "host-3") {
		t.Errorf("message is %q", c.Message)
	}
	must(0, s.fake.DomainUp("d1"))
	s.awaitGone(infra)
	s.wantNothingLeft()

	// Of a cluster without a record nobody knows.
	_, old := s.provisionedCluster(inD1)
	edit(s, old, func(c *infrav1.ElementoCluster) { delete(c.Annotations, infrav1.NetworkDomainsAnnotation) })
	must(0, s.Delete(s.ctx(), old))
	awaitCondition(s, old, infrav1.DeletingCondition, infrav1.WaitingForHostDeletionReason)
	must(0, s.fake.DomainUp("d3"))
	s.awaitGone(old)
	s.wantNothingLeft()
}

func TestANetworkComesToAHostThatAnswersAndDidNotTakeItYet(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	wrong := s.fault(fakeatomos.Fault{Call: "GET network/list", Host: "host-2", Effect: fakeatomos.Refuse, Status: 500})
	_, infra := s.provisionedCluster()
	awaitCondition(s, infra, infrav1.NetworkReadyCondition, infrav1.HostsMissingReason)
	asked, since := int64(0), time.Now()
	s.await("nothing wakes the cluster any more", func() bool {
		if n := s.fake.Calls()["host-2"]["GET network/list"]; n != asked {
			asked, since = n, time.Now()
		}
		return time.Since(since) > 2*time.Second
	}, func() string { return describe(infra) })
	s.fake.RemoveFaults(wrong) // of which nobody is told
	awaitCondition(s, infra, infrav1.NetworkReadyCondition, infrav1.ProvisionedReason)
}

func TestAClusterThatCannotGoSaysWhatIsWrongWithAHostThatAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	_, infra := s.provisionedCluster()
	wrong := s.fault(fakeatomos.Fault{Call: "GET network/list", Host: "host-2", Effect: fakeatomos.Refuse, Status: 500})
	must(0, s.Delete(s.ctx(), infra))
	c := awaitCondition(s, infra, infrav1.DeletingCondition, infrav1.RemovingReason)
	if !strings.Contains(c.Message, "host-2 (") || !strings.Contains(c.Message, "the host failed") || strings.Contains(c.Message, "host-1") {
		t.Errorf("message is %q", c.Message)
	}
	s.fake.RemoveFaults(wrong)
	s.remove(infra)
	s.wantNothingLeft()
}

func TestANetworkThatTwoClustersHaveIsRemovedWhereOnlyTheOneThatGoesHadIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1, "d2": 1})
	in := func(domains ...string) func(c *infrav1.ElementoCluster) {
		return func(c *infrav1.ElementoCluster) { c.Spec.Domains, c.Spec.Network.Name = domains, "ours" }
	}
	_, first := s.provisionedCluster(in("d1", "d2"))
	_, second := s.provisionedCluster(in("d2"))
	s.remove(first)
	for _, host := range s.fake.Inventory().Hosts {
		if has := len(host.Networks) > 0; has != (host.Name == "host-2") {
			t.Errorf("%s has a network: %v", host.Name, has)
		}
	}
	s.remove(second)
	s.wantNothingLeft()
}

func TestAVirtualIPIsTheOneThatItsNetworkKeepsForIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	vip := func(c *infrav1.ElementoCluster) { c.Spec.EndpointMode = infrav1.EndpointModeVIP }
	for what, address := range map[string]string{
		"the gateway's own address": "127.88.0.1", "an address that DHCP gives out": "127.88.1.7", "the broadcast address": "127.88.255.255",
	} {
		_, infra := s.cluster(vip, func(c *infrav1.ElementoCluster) {
			c.Spec.ControlPlaneEndpoint = infrav1.APIEndpoint{Host: address, Port: 6443}
		})
		c := awaitCondition(s, infra, infrav1.EndpointReadyCondition, infrav1.InvalidRequestReason)
		if !strings.Contains(c.Message, address) || !strings.Contains(c.Message, "127.88.255.254") || infra.Status.Initialization.Provisioned != nil {
			t.Errorf("%s: provisioned %v, message %q", what, infra.Status.Initialization.Provisioned != nil, c.Message)
		}
	}

	cluster, infra := s.cluster(vip)
	awaitCondition(s, infra, infrav1.EndpointReadyCondition, infrav1.WaitingForControlPlaneEndpointReason)
	give := func(host string) {
		edit(s, cluster, func(c *clusterv1.Cluster) {
			c.Spec.ControlPlaneEndpoint = clusterv1.APIEndpoint{Host: host, Port: 6443}
		})
	}
	give("192.0.2.77")
	c := awaitCondition(s, infra, infrav1.EndpointReadyCondition, infrav1.InvalidRequestReason)
	if !strings.Contains(c.Message, "the Cluster's spec.controlPlaneEndpoint") || !strings.Contains(c.Message, "192.0.2.77") || !strings.Contains(c.Message, "127.88.255.254") {
		t.Errorf("message is %q", c.Message)
	}
	give("127.88.255.254")
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)

	for what, host := range map[string]string{"the address on the ElementoCluster": "127.88.255.254", "a name": "api.example.com"} {
		_, infra := s.cluster(vip, func(c *infrav1.ElementoCluster) {
			c.Spec.ControlPlaneEndpoint = infrav1.APIEndpoint{Host: host, Port: 6443}
		})
		t.Log(what)
		awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
	}
}

func TestANATNetworkCarriesAClusterOnOneHost(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1, "d2": 1})
	cluster, infra := s.provisionedCluster(func(c *infrav1.ElementoCluster) {
		c.Spec.Domains = []string{"d2"}
		c.Spec.Network.Managed = infrav1.ManagedNetwork{CIDR: "127.89.0.0/24", Mode: infrav1.NetworkModeNAT}
	})
	_, m := s.provisionedMachine(cluster)
	if m.Spec.Host != "host-2" {
		t.Errorf("the machine is on %s", m.Spec.Host)
	}
	s.remove(m)
	s.remove(infra)
	s.wantNothingLeft()
}

func TestAnExternallyManagedClusterIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	_, managed := s.cluster(func(c *infrav1.ElementoCluster) {
		c.Annotations = map[string]string{clusterv1.ManagedByAnnotation: "somebody"}
	})
	s.provisionedCluster(func(c *infrav1.ElementoCluster) { c.Spec.Network.Managed.CIDR = "127.87.0.0/16" }) // the manager has seen the first one
	must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(managed), managed))
	if len(managed.Finalizers) > 0 || len(managed.Status.Conditions) > 0 || managed.Spec.EndpointHost != "" {
		t.Errorf("it was worked on: %+v", managed)
	}
	must(0, s.Delete(s.ctx(), managed))
	s.awaitGone(managed)
}

func TestNobodyActsForAnExternallyManagedClusterThatIsGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, managed := s.cluster(func(c *infrav1.ElementoCluster) {
		c.Annotations = map[string]string{clusterv1.ManagedByAnnotation: "somebody"}
		c.Spec.Network.Name = "of-somebody"
	})
	editStatus(s, cluster, func(c *clusterv1.Cluster) { c.Status.Initialization.InfrastructureProvisioned = new(true) })
	_, m := s.provisionedMachine(cluster, func(_ *clusterv1.Machine, m *infrav1.ElementoMachine) { m.Spec.Domain = "d1" })
	if len(s.fleet.Users(s.clientUID)) != 1 {
		t.Fatal("nobody acts for the cluster of the machine")
	}
	s.remove(m)
	s.remove(managed)
	s.await("nobody acts for it", func() bool { return len(s.fleet.Users(s.clientUID)) == 0 }, func() string { return fmt.Sprint(s.fleet.Users(s.clientUID)) })
}

func TestAPausedClusterIsLeftAloneUntilItIsNot(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.cluster(func(c *infrav1.ElementoCluster) {
		c.Annotations = map[string]string{clusterv1.PausedAnnotation: ""}
	})
	awaitCondition(s, infra, infrav1.PausedCondition, clusterv1.PausedReason)
	edit(s, cluster, func(c *clusterv1.Cluster) { c.Spec.Paused = new(true) })
	edit(s, infra, func(c *infrav1.ElementoCluster) { c.Annotations = nil })
	eventually(s, infra, "the Cluster pauses it", func() bool {
		c := conditions.Get(infra, infrav1.PausedCondition)
		return strings.Contains(c.Message, "spec.paused")
	})
	if len(infra.Finalizers) > 0 || infra.Spec.EndpointHost != "" {
		t.Errorf("a paused cluster was worked on: %+v", infra)
	}
	edit(s, cluster, func(c *clusterv1.Cluster) { c.Spec.Paused = nil })
	eventually(s, infra, "the cluster is provisioned", func() bool { return infra.Status.Initialization.Provisioned != nil })
}

func TestAClusterWhoseIdentityIsGoneSaysWhatItCannotRemove(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	secret := s.identity("lost-elemento-identity")
	s.create(secret)
	_, infra := s.provisionedCluster(func(c *infrav1.ElementoCluster) { c.Spec.IdentityRef.Name = secret.Name })
	s.stopManager() // forgets what it knew
	must(0, s.Delete(s.ctx(), secret))
	must(0, s.Delete(s.ctx(), infra))
	s.startManager()
	c := awaitCondition(s, infra, infrav1.DeletingCondition, infrav1.IdentityNotFoundReason)
	if !strings.Contains(c.Message, "cannot be removed") || !strings.Contains(c.Message, secret.Name) {
		t.Errorf("message is %q", c.Message)
	}
	s.create(s.identity("lost-elemento-identity"))
	s.awaitGone(infra)
	s.wantNothingLeft()
}

func TestANamespaceThatIsDeletedTakesItsIdentityFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	s.stopManager()
	s.identityAge = time.Nanosecond // so that the Secret is missed at once
	s.startManager()
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	must(0, s.Delete(s.ctx(), s.identity(infra.Spec.IdentityRef.Name)))
	must(0, s.Delete(s.ctx(), m))
	must(0, s.Delete(s.ctx(), infra))
	s.awaitGone(m)
	s.awaitGone(infra)
	s.wantNothingLeft()
}

func TestTheDefaultIdentityStandsInForOneThatWentWithItsNamespace(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster)
	s.stopManager() // forgets what it knew
	must(0, s.Delete(s.ctx(), s.identity(infra.Spec.IdentityRef.Name)))
	must(0, s.Delete(s.ctx(), m))
	must(0, s.Delete(s.ctx(), infra))
	spare := s.identity("spare-elemento-identity")
	s.create(spare)
	s.defaultIdentity = client.ObjectKeyFromObject(spare)
	s.startManager()
	c := awaitCondition(s, m, infrav1.DeletingCondition, infrav1.IdentityNotFoundReason)
	if !strings.Contains(c.Message, "--default-identity") {
		t.Errorf("message is %q, which does not say what to do where no Secret can be made", c.Message)
	}
	edit(s, infra, func(c *infrav1.ElementoCluster) { c.Spec.IdentityRef = infrav1.IdentityReference{} })
	s.awaitGone(m)
	s.awaitGone(infra)
	s.wantNothingLeft()
}

func TestAnIdentityThatIsGoneMakesNothingNew(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	s.stopManager()
	s.identityAge = time.Nanosecond
	s.startManager()
	cluster, infra := s.provisionedCluster()
	must(0, s.Delete(s.ctx(), s.identity(infra.Spec.IdentityRef.Name)))
	_, m := s.machine(cluster)
	awaitCondition(s, m, infrav1.ReadyCondition, infrav1.IdentityNotFoundReason)
}

func TestAManagedNetworkWaitsForHostsThatAreDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	_, infra := s.provisionedCluster()
	away := "host-1"
	if infra.Spec.EndpointHost == away {
		away = "host-2"
	}
	host := must(s.fake.Host(away))
	host.Down()
	must(0, s.Delete(s.ctx(), infra))
	c := awaitCondition(s, infra, infrav1.DeletingCondition, infrav1.WaitingForHostDeletionReason)
	if !strings.Contains(c.Message, infra.Spec.Network.Name) || !strings.Contains(c.Message, away) {
		t.Errorf("message is %q", c.Message)
	}
	asked := func() int { return s.logs.count("msg=audit method=DeleteNetwork") }
	before := asked()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if n := asked() - before; n > 1 { // one may be under way
			t.Fatalf("the network's deletion was asked for %d times while the host was down", n)
		}
	}
	must(0, host.Up())
	back := time.Now()
	s.awaitGone(infra)
	if took := time.Since(back); took > 10*time.Second {
		t.Errorf("it took %s to go on when the host was back", took)
	}
	s.wantNothingLeft()
}

func TestASilentHostMakesTheEndpointUnknown(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	_, m := s.provisionedMachine(cluster, controlPlane)
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
	host := must(s.fake.Host(m.Spec.Host))
	host.Down()
	c := awaitCondition(s, infra, infrav1.EndpointReadyCondition, infrav1.HostUnreachableReason)
	if c.Status != metav1.ConditionUnknown || !strings.Contains(c.Message, m.Spec.Host) {
		t.Errorf("want it unknown for the host:\n%s", describe(infra))
	}
	must(0, host.Up())
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
}

func TestAnEndpointOnTheClusterIsRefusedByModeForward(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	s.stopManager() // until the endpoint is there
	cluster, infra := s.cluster()
	edit(s, cluster, func(c *clusterv1.Cluster) {
		c.Spec.ControlPlaneEndpoint = clusterv1.APIEndpoint{Host: "api.example.com", Port: 6443}
	})
	s.startManager()
	c := awaitCondition(s, infra, infrav1.EndpointReadyCondition, infrav1.InvalidRequestReason)
	if !strings.Contains(c.Message, "api.example.com:6443") || infra.Spec.EndpointHost != "" || infra.Status.Initialization.Provisioned != nil {
		t.Errorf("an endpoint was chosen besides the given one:\n%s", describe(infra))
	}
	s.remove(infra)
	s.wantNothingLeft()
}

func TestTheEndpointThatModeForwardChoseStaysWhenClusterAPITakesItOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	cluster, infra := s.provisionedCluster()
	edit(s, cluster, func(c *clusterv1.Cluster) {
		c.Spec.ControlPlaneEndpoint = clusterv1.APIEndpoint{Host: infra.Spec.ControlPlaneEndpoint.Host, Port: infra.Spec.ControlPlaneEndpoint.Port}
	})
	s.provisionedMachine(cluster, controlPlane)
	awaitCondition(s, infra, infrav1.ReadyCondition, infrav1.ReadyReason)
}

func TestAClusterWithoutAClusterWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	infra := &infrav1.ElementoCluster{}
	infra.Namespace, infra.Name = s.namespace, "alone"
	infra.Spec.Network.Name = "lan"
	s.create(infra)
	must(0, s.Delete(s.ctx(), infra))
	s.await("it is gone", func() bool {
		return apierrors.IsNotFound(s.Get(s.ctx(), client.ObjectKeyFromObject(infra), infra))
	}, func() string { return describe(infra) })
}

func TestATemplateTellsWhatANodeWillHave(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	template := &infrav1.ElementoMachineTemplate{}
	template.Namespace, template.Name = s.namespace, "gpu"
	template.Spec.Template.Spec = infrav1.ElementoMachineSpec{
		Slots: 8, MemoryMiB: 16384, Image: image, Architecture: infrav1.ArchitectureARM8,
		PCIDevices: []infrav1.PCIDevice{{Vendor: "10de", Model: "2684", Quantity: 2}},
	}
	s.create(template)
	s.await("the capacity is told", func() bool {
		must(0, s.Get(s.ctx(), client.ObjectKeyFromObject(template), template))
		return len(template.Status.Capacity) > 0
	}, func() string { return "" })
	capacity := template.Status.Capacity
	devices := capacity["pci.elemento.cloud/10de-2684"]
	if capacity.Cpu().Value() != 8 || capacity.Memory().Value() != 16384<<20 || devices.Value() != 2 {
		t.Errorf("capacity is %v", capacity)
	}
	if info := template.Status.NodeInfo; info.Architecture != "arm64" || info.OperatingSystem != "linux" {
		t.Errorf("nodeInfo is %+v", info)
	}
}

func TestANATClusterLivesOnWhereItIsMovedThoughItsDomainHasGrown(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 2})
	all := s.config.Hosts
	restart := func(hosts []daemon.Host) {
		for _, d := range s.daemons {
			d.stop()
		}
		s.config.Hosts = hosts
		s.daemons = []*running{s.daemon(), s.daemon()}
		s.renewIdentity()
	}
	restart(all[:1])
	_, infra := s.provisionedCluster(func(c *infrav1.ElementoCluster) {
		c.Spec.Network.Managed = infrav1.ManagedNetwork{CIDR: "127.89.0.0/24", Mode: infrav1.NetworkModeNAT}
	})
	s.stopManager()
	editStatus(s, infra, func(c *infrav1.ElementoCluster) { c.Status = infrav1.ElementoClusterStatus{} }) // it does not move
	restart(all)
	awaitCondition(s, infra, infrav1.NetworkReadyCondition, infrav1.NATSpansHostsReason)
	eventually(s, infra, "the cluster is provisioned", func() bool { return infra.Status.Initialization.Provisioned != nil })
}

func TestANetworkThatTwoClustersHaveGoesWithTheLast(t *testing.T) {
	t.Parallel()
	s := newSite(t, hosts{"d1": 1})
	shared := func(c *infrav1.ElementoCluster) { c.Spec.Network.Name = "shared" }
	_, first := s.provisionedCluster(shared)
	cluster, second := s.provisionedCluster(shared)
	_, m := s.provisionedMachine(cluster)
	s.remove(first)
	if left := s.fake.Inventory().Resources(); !slices.ContainsFunc(left, func(r string) bool { return strings.Contains(r, "shared") }) {
		t.Errorf("the network of a cluster that lives is gone: %q", left)
	}
	s.remove(m)
	s.remove(second)
	s.wantNothingLeft()
}
