package simulated_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos/guest/simulated"
)

const (
	kubernetesVersion = "v1.36.3"
	// patience is for how long a test waits for what takes milliseconds.
	patience = 30 * time.Second
)

func TestMain(m *testing.M) {
	code := m.Run()
	if left := goroutines(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// goroutines returns the stacks of what guests run, after a time in which what
// is ending can end.
func goroutines() string {
	var left string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var all bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
		left = ""
		for stack := range strings.SplitSeq(all.String(), "\n\n") {
			if strings.Contains(stack, "testing.(*T).Parallel") {
				continue // a test that waits for its turn
			}
			if strings.Contains(stack, "guest/simulated.") || strings.Contains(stack, "kubeapi.") || strings.Contains(stack, "spdystream") {
				left += stack + "\n\n"
			}
		}
		if left == "" {
			break
		}
	}
	return left
}

// lab is a set of guests and one cluster's secrets.
type lab struct {
	*testing.T
	guests          *simulated.Guests
	ca, etcd, front *authority
	first           netip.Addr
	// vip is the endpoint's address where control planes hold one in turn, and
	// holding the file that has them do it.
	vip              netip.Addr
	holding          string
	machines         int
	token, tokenHash string
}

var (
	addressBase = mathrand.Uint32N(54) + 200
	addressNext atomic.Uint32
)

// freshAddress returns a loopback address that no other test uses: other
// packages stay below 127.200.0.0.
func freshAddress() netip.Addr {
	n := addressNext.Add(1)
	return netip.AddrFrom4([4]byte{127, byte(addressBase), byte(n / 250), byte(n%250 + 1)})
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return newLabWith(t, simulated.Options{})
}

func newLabWith(t *testing.T, options simulated.Options) *lab {
	t.Helper()
	options.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	options.NodeGrace = 50 * time.Millisecond
	guests, err := simulated.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guests.Close)
	return &lab{T: t, guests: guests, ca: newAuthority(t, "kubernetes"), etcd: newAuthority(t, "etcd-ca"), front: newAuthority(t, "front-proxy-ca"), first: freshAddress()}
}

// authority is a certificate authority of a test.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key}
}

func (a *authority) certPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

func keyPEM(t *testing.T, key crypto.Signer) string {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func (a *authority) pin() string {
	sum := sha256.Sum256(a.certificate.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// client issues a client certificate and key.
func (a *authority) client(t *testing.T, name, organization string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name, Organization: []string{organization}},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.certificate, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), []byte(keyPEM(t, private))
}

// door is where the cluster's API is reached.
func (l *lab) door() netip.Addr {
	if l.vip.IsValid() {
		return l.vip
	}
	return l.first
}

func (l *lab) endpoint() string { return net.JoinHostPort(l.door().String(), "6443") }

// machine returns a VM with a name, an address and a seed's meta-data.
func (l *lab) machine(name string) guest.VM {
	l.machines++
	return guest.VM{
		ID: fmt.Sprintf("vm-%s-%d", name, l.machines), Name: name, Address: freshAddress(),
		MetaData:          fmt.Appendf(nil, "instance-id: i-%s-%d\nlocal-hostname: %s\nprovider_id: elemento://here/%s\n", name, l.machines, name, name),
		KubernetesVersion: kubernetesVersion, Processors: 2, MemoryMiB: 4096,
	}
}

func file(path, content string) string {
	return fmt.Sprintf("-   path: %s\n    owner: root:root\n    permissions: '0640'\n    content: |\n      %s\n", path, strings.ReplaceAll(strings.TrimSpace(content), "\n", "\n      "))
}

func (l *lab) pki() string {
	l.Helper()
	var files strings.Builder
	for path, a := range map[string]*authority{"ca": l.ca, "etcd/ca": l.etcd, "front-proxy-ca": l.front} {
		files.WriteString(file("/etc/kubernetes/pki/"+path+".crt", a.certPEM()))
		files.WriteString(file("/etc/kubernetes/pki/"+path+".key", keyPEM(l.T, a.key)))
	}
	files.WriteString(file("/etc/kubernetes/pki/sa.key", keyPEM(l.T, l.front.key)))
	return files.String()
}

const header = "## template: jinja\n#cloud-config\n\nwrite_files:\n"

// initSeed is the user-data of a cluster's first control plane.
func (l *lab) initSeed() []byte {
	return []byte(header + l.pki() + l.holding + file("/run/kubeadm/kubeadm.yaml", `
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: test
controlPlaneEndpoint: `+l.endpoint()+`
kubernetesVersion: `+kubernetesVersion+`
networking:
  podSubnet: 192.168.0.0/16
apiServer:
  certSANs: [api.example.com]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {}
nodeRegistration:
  name: '{{ ds.meta_data.local_hostname }}'
  taints: null
  kubeletExtraArgs:
  - name: provider-id
    value: '{{ ds.meta_data.provider_id }}'
`) + "runcmd:\n  - 'kubeadm init --config /run/kubeadm/kubeadm.yaml  && echo success > /run/cluster-api/bootstrap-success.complete'\n")
}

// joinSeed is the user-data of a machine that joins; controlPlane is empty for
// a worker.
func (l *lab) joinSeed(token, hash string, controlPlane bool) []byte {
	files, role := "", ""
	if controlPlane {
		files, role = l.pki()+l.holding, "controlPlane:\n  localAPIEndpoint: {}\n"
	}
	return []byte(header + files + file("/run/kubeadm/kubeadm-join-config.yaml", `
---
apiVersion: kubeadm.k8s.io/v1beta3
kind: JoinConfiguration
`+role+`discovery:
  bootstrapToken:
    apiServerEndpoint: `+l.endpoint()+`
    caCertHashes:
    - `+hash+`
    token: `+token+`
nodeRegistration:
  name: '{{ ds.meta_data.local_hostname }}'
  kubeletExtraArgs:
    provider-id: '{{ ds.meta_data.provider_id }}'
    node-labels: tier=test
`) + "runcmd:\n  - kubeadm join --config /run/kubeadm/kubeadm-join-config.yaml  && echo success > /run/cluster-api/bootstrap-success.complete\n")
}

// boot powers a machine on.
func (l *lab) boot(vm guest.VM) guest.VM {
	l.Helper()
	if err := l.guests.Boot(l.Context(), vm); err != nil {
		l.Fatal(err)
	}
	return vm
}

// init makes the first control plane and waits for its API.
func (l *lab) init() guest.VM {
	l.Helper()
	vm := l.machine("cp-1")
	vm.Address, vm.UserData = l.first, l.initSeed()
	l.boot(vm)
	l.eventually("the API answers", func() error {
		_, err := l.client(l.door()).Discovery().ServerVersion()
		return err
	})
	l.token, l.tokenHash = l.newToken(time.Hour), l.ca.pin()
	return vm
}

// join makes another node and waits until it is ready.
func (l *lab) join(name string, controlPlane bool) guest.VM {
	l.Helper()
	vm := l.machine(name)
	vm.UserData = l.joinSeed(l.token, l.tokenHash, controlPlane)
	l.boot(vm)
	l.nodeBecomes(name, corev1.ConditionTrue)
	return vm
}

// newToken makes a bootstrap token as Cluster API does.
func (l *lab) newToken(life time.Duration) string {
	l.Helper()
	id, secret := fmt.Sprintf("%06x", mathrand.Uint32N(1<<24)), fmt.Sprintf("%016x", mathrand.Uint64())
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{
			"token-id": []byte(id), "token-secret": []byte(secret), "usage-bootstrap-authentication": []byte("true"), "usage-bootstrap-signing": []byte("true"),
			"expiration": []byte(time.Now().Add(life).UTC().Format(time.RFC3339)),
		},
	}
	if _, err := l.client(l.door()).CoreV1().Secrets(metav1.NamespaceSystem).Create(l.Context(), object, metav1.CreateOptions{}); err != nil {
		l.Fatal(err)
	}
	return id + "." + secret
}

// config is an administrator's access to the API at an address.
func (l *lab) config(address netip.Addr) *rest.Config { return l.configBy(l.ca, address) }

func (l *lab) configBy(signer *authority, address netip.Addr) *rest.Config {
	l.Helper()
	certificate, key := signer.client(l.T, "kubernetes-admin", "system:masters")
	return &rest.Config{
		Host: "https://" + net.JoinHostPort(address.String(), "6443"), Timeout: 5 * time.Second, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: []byte(l.ca.certPEM()), CertData: certificate, KeyData: key},
	}
}

func (l *lab) client(address netip.Addr) kubernetes.Interface {
	l.Helper()
	client, err := kubernetes.NewForConfig(l.config(address))
	if err != nil {
		l.Fatal(err)
	}
	return client
}

// etcdTLS is Cluster API's access to etcd.
func (l *lab) etcdTLS() *tls.Config {
	l.Helper()
	certificate, key := l.etcd.client(l.T, "cluster-api.x-k8s.io", "")
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		l.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(l.etcd.certificate)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// etcdClient talks to the member on a machine.
func (l *lab) etcdClient(vm guest.VM) *clientv3.Client {
	l.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"https://" + net.JoinHostPort(vm.Address.String(), "2379")}, TLS: l.etcdTLS(), DialTimeout: time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = client.Close() })
	return client
}

// eventually waits for a condition.
func (l *lab) eventually(what string, condition func() error) {
	l.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	l.Fatalf("waited for %s: %v", what, err)
}

func (l *lab) nodeBecomes(name string, ready corev1.ConditionStatus) *corev1.Node {
	l.Helper()
	var found *corev1.Node
	client := l.client(l.door())
	l.eventually(fmt.Sprintf("node %s to be ready: %s", name, ready), func() error {
		node, err := client.CoreV1().Nodes().Get(l.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if status := readiness(node); status != ready {
			return fmt.Errorf("ready is %s", status)
		}
		found = node
		return nil
	})
	return found
}

func readiness(node *corev1.Node) corev1.ConditionStatus {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return ""
}

func (l *lab) nodeNames() []string {
	l.Helper()
	list, err := l.client(l.first).CoreV1().Nodes().List(l.Context(), metav1.ListOptions{})
	if err != nil {
		l.Fatal(err)
	}
	var names []string
	for _, node := range list.Items {
		names = append(names, node.Name)
	}
	return names
}

func (l *lab) powerOff(vm guest.VM) { l.guests.PowerOff(vm.ID) }

func (l *lab) cut(vm guest.VM) {
	if err := l.guests.Cut(vm.ID); err != nil {
		l.Error(err)
	}
}

func (l *lab) mend(vm guest.VM) {
	if err := l.guests.Mend(vm.ID); err != nil {
		l.Error(err)
	}
}

func (l *lab) destroy(vm guest.VM) {
	l.guests.PowerOff(vm.ID)
	l.guests.Remove(vm.ID)
}

// refused tells whether nothing listens at an address.
func refused(address netip.Addr, port string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address.String(), port))
	if err == nil {
		_ = connection.Close()
		return errors.New("a connection is accepted")
	}
	return nil
}

func deadline(l *lab) (context.Context, context.CancelFunc) {
	return context.WithTimeout(l.Context(), 5*time.Second)
}
