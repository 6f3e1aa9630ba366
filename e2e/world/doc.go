// Package world brings up, as plain processes on one machine, all that the
// suites act on, and takes it down again.
//
//	w, err := world.Up(ctx, world.Options{Dir: "out", Progress: os.Stderr})
//	...
//	defer w.Down(context.Background())
//	kubeconfig, err := w.UserKubeconfig(ctx, "alice", "a-group")
//
// An embedded management plane is etcd, kube-apiserver, the controllers of
// kube-controller-manager that a plane without nodes needs, and Cluster API's
// three managers. Each controller acts as the service account, and with the
// permissions, that its manifests give it. Their webhooks are called by URL, and
// in use when Up returns. On kind there is a cluster in Docker, with all that as users
// have it: Deployments, webhooks behind Services, the shipped permissions; what is
// outside of a cluster there, daemons and hosts, is so here. An existing plane is any
// kubeconfig: nothing is started or installed, and the accessors are the same. A test
// that needs only an API server has [StartAPIServer].
//
// Nothing but Linux and Go is needed: programs that are not installed are built
// from Go modules, once (see [binaries.Path]). Everything listens on loopback addresses
// that no other world uses, but for webhooks, whose upstream servers listen on
// all addresses. Every process dies with the one that started it, however that
// one ends, and the state that a killed one leaves is removed by the next.
//
// A world with containers, on kind or with guests that are containers, needs Docker as
// well. It makes a Docker network, elemento-N, and has its addresses there instead of
// loopback ones, so that pods and guests reach daemons, hosts and each other. With its
// network goes all that is on it.
//
// For those who break things: what is proxied can be cut ([World.Partition]) and
// slowed, processes are killed, stopped and paused ([World.Process]) and come back
// ([World.Revive]), certificates are rotated and end ([World.RotateDaemon]), our
// programs can be built from other content (Elemento.Overlay), our manager comes back
// with other settings ([World.SetManager]), and a second plane stands beside the first
// ([World.Twin]). Options.History keeps what happened, and
// [World.Resources] counts what processes hold.
//
// Options.Prometheus has it watched by Prometheus, with the rules that are shipped.
//
// Options.Dir holds, when the world is gone: logs/ with a file for each process,
// manifests/ as they were rendered, and audit.log. Keys, tokens and kubeconfigs
// lie elsewhere and go with the world.
package world
