package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

// auditProcess is the name of the process that copies the audit log out of kind's node.
const auditProcess = "audit-log"

// Where the API server's audit policy and log are on kind's node.
const (
	nodeAuditPolicy = "/etc/kubernetes/audit-policy.yaml"
	nodeAuditLogs   = "/var/log/kubernetes"
	nodeAuditLog    = nodeAuditLogs + "/audit.log"
)

// audit has the API server of a cluster that is about to be made keep an audit log, by
// the policy that is in that file here.
func audit(config *v1alpha4.Cluster, policy string) {
	for i := range config.Nodes {
		config.Nodes[i].ExtraMounts = append(config.Nodes[i].ExtraMounts, v1alpha4.Mount{HostPath: policy, ContainerPath: nodeAuditPolicy, Readonly: true})
	}
	// Added, since kind has arguments of its own there.
	config.KubeadmConfigPatchesJSON6902 = append(config.KubeadmConfigPatchesJSON6902, v1alpha4.PatchJSON6902{
		Group: "kubeadm.k8s.io", Version: "v1beta4", Kind: "ClusterConfiguration",
		Patch: fmt.Sprintf(`
- {op: add, path: /apiServer/extraArgs/-, value: {name: audit-policy-file, value: %[1]s}}
- {op: add, path: /apiServer/extraArgs/-, value: {name: audit-log-path, value: %[3]s}}
- {op: add, path: /apiServer/extraArgs/-, value: {name: audit-log-maxsize, value: "100000"}}
- op: add
  path: /apiServer/extraVolumes
  value:
  - {name: audit-policy, hostPath: %[1]s, mountPath: %[1]s, readOnly: true, pathType: File}
  - {name: audit-logs, hostPath: %[2]s, mountPath: %[2]s, pathType: DirectoryOrCreate}
`, nodeAuditPolicy, nodeAuditLogs, nodeAuditLog),
	})
}

// followAudit copies the audit log, which only root may read on the node, to the
// directory of the world as long as it lives.
func (w *World) followAudit(ctx context.Context) error {
	path, err := exec.LookPath("docker")
	if err != nil {
		return err
	}
	nodes, err := w.kind.provider.ListInternalNodes(w.kind.name)
	if err != nil || len(nodes) == 0 {
		return errors.Join(errors.New("the kind cluster has no nodes"), err)
	}
	w.auditLog = filepath.Join(w.dir, "audit.log")
	p, err := w.processes.start(Command{
		Name: auditProcess, Path: path, Log: w.auditLog, Env: w.dockerEnv,
		Args: []string{"exec", nodes[0].String(), "tail", "--lines=+1", "--follow=name", "--retry", nodeAuditLog},
		Ready: func(context.Context) error {
			if info, err := os.Stat(w.auditLog); err != nil || info.Size() == 0 {
				return errors.Join(errors.New("nothing of the audit log is there"), err)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	return p.await(ctx)
}
