// Package fakeatomos is AtomOS as seen through C4: hypervisor hosts with
// capacity, VMs, volumes, seeds, networks and port forwards, each host on an
// address of its own and on C4's real ports, so that an unmodified client is
// what gets tested. It follows ../c4/SPEC.md.
//
// What tests do to it (faults, power of hosts) and ask of it (inventory,
// journal) goes through the methods of Fake or through the control listener,
// never through C4. Control reaches that listener from another process.
package fakeatomos
