// Package node makes the image of a Kubernetes node that is a container: systemd,
// Debian's cloud-init, containerd, kubelet and kubeadm, with the images of Kubernetes in
// its containerd. It is made of Debian packages and Go modules alone (see
// e2e/binaries), without a registry; one image for each version of Kubernetes that is
// pinned there. kind takes it too (`kind create cluster --image`).
//
// A container of it is a machine: it must be privileged, with a cgroup namespace of its
// own, tmpfs on /tmp and /run, and a volume on /var. It finds its NoCloud seed in
// /var/lib/cloud/seed/nocloud, where it must be before the first start; a container
// without one runs no cloud-init. The pod network is the user's choice; [Network] is one
// whose images are there.
//
// # What is different from a machine
//
// Users write the same kubeadm configuration as for a machine. What a container cannot
// have is settled in the image:
//
//   - kubeadm (files/usr/local/bin) leaves out the check of the kernel, which is the
//     host's, and tells kube-proxy to leave the limit of connections alone.
//   - fit-machine (files/usr/local/libexec) runs at each start, before containerd and
//     kubelet. On a host with cgroup v1 it has both manage cgroups themselves, and
//     kubelet accept it. On one without CAP_SYS_RESOURCE kubelet leaves its score alone.
//     On any other host it does nothing.
//   - kubelet's own settings come before those of kubeadm's configuration in
//     /etc/kubernetes/kubelet.conf.d; they are about cgroups, disk and swap only.
//   - containers are made through the OCI runtime of e2e/docker/runtime, which changes
//     nothing but where the host lacks a capability.
//
// # What is not upstream's
//
// The images have the names that kubeadm asks for, and hold what the names say: each
// program is built from the module of that version, etcd and CoreDNS in the versions
// that kubeadm asks for (which is checked), pause from Kubernetes' source. The files
// around them are Debian's and few. flannel's image has a name of ours, since its CNI
// plugin, a module that is not to be had everywhere, is a script that does the same.
package node
