// Package fakeatomos is AtomOS as seen through C4: hypervisor hosts with
// capacity, VMs, volumes, seeds, networks and port forwards, each host on an
// address of its own and on C4's real ports, so that an unmodified client is
// what gets tested. It follows ../c4/SPEC.md.
//
// What tests do to it and ask of it (inventory, journal) goes through the methods
// of Fake and Host or through the control listener, never through C4. Control
// reaches that listener from another process and has the same methods.
//
// # What goes wrong on purpose
//
// A Fault meets calls, or boots: see Effects. It is set by AddFault, or read from
// a file by ParseFaults, which the binary takes as --faults.
//
// What befalls hosts (nothing of it survives the process):
//
//   - Down and Up: power is lost, with all VMs; it comes back with what it had, and
//     the VMs start by themselves
//   - Wipe: power is lost, and the VMs for ever; the disks survive or not
//   - Isolate and Reconnect: C4 is away, connections are refused; VMs and forwards
//     run on. A fault with Hang is the host that swallows what is sent
//   - SetBlank: for a while after it came up it lists nothing of what it has
//   - SetSlow, SetBootTime, SetMaintenance, SetCapacity, SetCommunity, ShiftClock
//   - DomainDown and DomainUp: all hosts of a domain
//
// What befalls VMs: CrashVM, VanishVM, CutVM and MendVM, ChangeVM, and at boot HangBoot and
// HideAddress, which are faults. A shifted clock dates what C4 tells (VMs, volumes,
// the Date of replies); guests keep the clock of the machine.
//
// # History
//
// Options.History is told, as package history says, each change of a VM, volume,
// network, forward and host, each fault, and each call; a call that only reads is
// told when it is answered in another way than the last time it was asked the same.
// A fake that is started on a state of before tells that its VMs are started, not
// that they are made. The journal is the same calls in memory, for whoever wants to
// ask in the middle of a test, without those that only read.
package fakeatomos
