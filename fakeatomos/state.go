package fakeatomos

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

// stateDir keeps a host's things, one file each, so that a change writes
// little. The zero value keeps nothing.
type stateDir struct{ dir string }

func newStateDir(dir, host string) stateDir {
	if dir == "" {
		return stateDir{}
	}
	return stateDir{filepath.Join(dir, host)}
}

// put saves a thing as JSON. It panics when the disk fails, which cuts the call
// that wanted it: to go on without the state that is promised would make tests
// lie.
func (s stateDir) put(kind, id string, thing any) {
	if s.dir == "" {
		return
	}
	raw, err := json.Marshal(thing)
	if err != nil {
		panic(fmt.Errorf("fakeatomos: %s %s: %w", kind, id, err))
	}
	s.putRaw(kind, id, raw)
}

func (s stateDir) putRaw(kind, id string, raw []byte) {
	if s.dir == "" {
		return
	}
	if err := s.write(filepath.Join(kind, id), raw); err != nil {
		panic(fmt.Errorf("fakeatomos: keep state: %w", err))
	}
}

// write replaces a file in one step. Seeds and keys are secrets.
func (s stateDir) write(name string, raw []byte) error {
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

func (s stateDir) delete(kind, id string) {
	if s.dir == "" {
		return
	}
	if err := os.Remove(filepath.Join(s.dir, kind, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(fmt.Errorf("fakeatomos: keep state: %w", err))
	}
}

// each calls do for every file of a kind.
func (s stateDir) each(kind string, do func(id string, raw []byte) error) error {
	if s.dir == "" {
		return nil
	}
	dir := filepath.Join(s.dir, kind)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".new") {
			continue // written when the process ended
		}
		path := filepath.Join(dir, e.Name())
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := do(e.Name(), raw); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// load reads what the host had when its process ended.
func (h *Host) load() error {
	networks := h.state.each("networks", func(id string, raw []byte) error {
		n := &network{}
		if err := json.Unmarshal(raw, &n.networkRecord); err != nil {
			return err
		}
		if status, wrong := n.parse(); status != 0 {
			return errors.New(wrong)
		}
		h.networks[id] = n
		h.sequence = max(h.sequence, n.Sequence)
		return nil
	})
	forwards := h.state.each("forwards", func(id string, raw []byte) error {
		fw := &forward{}
		h.forwards[id] = fw
		err := json.Unmarshal(raw, &fw.forwardRecord)
		h.sequence = max(h.sequence, fw.Sequence)
		return err
	})
	volumes := h.state.each("volumes", func(id string, raw []byte) error {
		v := &volume{files: map[string][]byte{}}
		h.volumes[id] = v
		err := json.Unmarshal(raw, &v.volumeRecord)
		h.sequence = max(h.sequence, v.Sequence)
		return err
	})
	seeds := h.state.each("seeds", func(id string, raw []byte) error {
		volumeID, file, _ := strings.Cut(id, ".")
		if v := h.volumes[volumeID]; v != nil {
			v.files[file] = raw
		}
		return nil
	})
	vms := h.state.each("vms", func(id string, raw []byte) error {
		v := &vm{State: c4.ShutOff}
		h.vms[id] = v
		if err := json.Unmarshal(raw, &v.vmRecord); err != nil {
			return err
		}
		h.sequence = max(h.sequence, v.Sequence)
		for _, n := range v.NICs {
			network := h.networks[n.Network]
			if network == nil {
				return fmt.Errorf("network %s is missing", n.Network)
			}
			if n.Address.IsValid() && !h.fake.leases.claim(n.Address, lease{h, v.UID, network.bridged()}) {
				return fmt.Errorf("address %s is taken", n.Address)
			}
		}
		return nil
	})
	return errors.Join(networks, forwards, volumes, seeds, vms)
}

// certificate returns the host's self-signed certificate, the one of before if
// there is one.
func (s stateDir) certificate(address netip.Addr) (*tls.Certificate, error) {
	const file = "certificate.pem"
	if s.dir != "" {
		raw, err := os.ReadFile(filepath.Join(s.dir, file))
		if err == nil {
			kept, err := tls.X509KeyPair(raw, raw)
			return &kept, err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	raw, err := selfSigned(address)
	if err != nil {
		return nil, err
	}
	if s.dir != "" {
		if err := s.write(file, raw); err != nil {
			return nil, err
		}
	}
	fresh, err := tls.X509KeyPair(raw, raw)
	return &fresh, err
}

// selfSigned makes a certificate and its key, in PEM.
func selfSigned(address netip.Addr) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "AtomOS " + address.String()},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(10, 0, 0),
		IPAddresses:  []net.IP{address.AsSlice()},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...), nil
}
