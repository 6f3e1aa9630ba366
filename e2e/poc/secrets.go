package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemento.cloud/cluster-api-provider-elemento/e2e/suite"
	"elemento.cloud/cluster-api-provider-elemento/e2e/world"
)

// tellTale is how long a line of a secret must be to be looked for: a line of a
// key is longer, and what is shorter stands everywhere.
const tellTale = 40

// learnSecrets remembers what of the cluster must be in no log: the lines of its
// bootstrap data, of its keys and kubeconfigs, and its bootstrap tokens.
func (s *scenario) learnSecrets(ctx context.Context) {
	secrets := &corev1.SecretList{}
	Expect(s.site.Admin.List(ctx, secrets, client.InNamespace(s.cluster.Key.Namespace))).To(Succeed())
	if s.secrets == nil {
		s.secrets = map[string]bool{}
	}
	for _, secret := range secrets.Items {
		for key, value := range secret.Data {
			if key != corev1.TLSCertKey { // certificates are public
				remember(s.secrets, string(value))
			}
		}
	}
}

func remember(secrets map[string]bool, text string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) >= tellTale {
			secrets[line] = true
		}
	}
	for _, token := range suite.BootstrapToken.FindAllString(text, -1) {
		secrets[token] = true
	}
}

// ourLogs are the logs of the processes that see bootstrap data or credentials.
func (s *scenario) ourLogs() (logs []string) {
	names := []string{world.ElementoProvider, world.FakeProcess}
	for n := range s.site.World.Endpoints() {
		names = append(names, world.DaemonProcess(n+1))
	}
	for _, name := range names {
		if log := s.site.World.Log(name); log != "" {
			logs = append(logs, log)
		}
	}
	return logs
}

// leaks are the places, as file:line, where a log holds a secret.
func leaks(secrets map[string]bool, log string) (found []string, lines int, err error) {
	f, err := os.Open(log)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		lines++
		for secret := range secrets {
			if strings.Contains(scanner.Text(), secret) {
				found = append(found, fmt.Sprintf("%s:%d", filepath.Base(log), lines))
				break
			}
		}
	}
	return found, lines, scanner.Err()
}
