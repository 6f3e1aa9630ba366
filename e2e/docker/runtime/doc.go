// Runtime is an OCI runtime for machines that lack a capability. It stands before
// runc: what this machine cannot give is taken out of what runc is told to make, and
// runc does the rest.
//
// Some machines, containers among them, run without CAP_SYS_RESOURCE. There runc
// cannot make a privileged container at all, because it is to have every
// capability, and neither one with a negative oomScoreAdj nor one with higher
// limits than its own. Where nothing is missing, nothing is changed.
//
// It is called as containerd and Docker call runc, takes the same arguments, and
// finds runc on PATH.
package main
