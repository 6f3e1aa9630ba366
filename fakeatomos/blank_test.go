package fakeatomos_test

import (
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
)

func TestAHostThatComesUpBlankListsNothingAndHasAll(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	h := f.Hosts()[0]
	c := dial(t, h, "")
	register(t, c, "vm", small())
	volume, err := c.CreateVolume(t.Context(), c4.VolumeRequest{CreatorID: owner, Name: "v", Private: true, Size: 1, Alg: "no", Format: "qcow2", Bus: "virtio"})
	succeed(t, err)
	has := len(f.Inventory().Resources())
	lists := func() (n int) {
		t.Helper()
		volumes, err := c.Volumes(t.Context(), owner)
		succeed(t, err)
		networks, err := c.Networks(t.Context())
		succeed(t, err)
		forwards, err := c.Forwards(t.Context())
		succeed(t, err)
		return len(vmsOf(t, c, owner)) + len(volumes) + len(networks) + len(forwards)
	}
	if lists() == 0 {
		t.Fatal("a host that is not blank lists nothing")
	}
	restart := func(blank time.Duration) {
		t.Helper()
		h.SetBlank(blank)
		h.Down()
		succeed(t, h.Up())
		c = dial(t, h, "")
	}
	restart(time.Hour)
	if n := lists(); n != 0 {
		t.Errorf("it lists %d", n)
	}
	if _, err := c.Volume(t.Context(), volume); err != nil {
		t.Errorf("it does not tell of a volume that it is asked for: %v", err)
	}
	if now := len(f.Inventory().Resources()); now != has {
		t.Errorf("it has %d things, and had %d", now, has)
	}
	restart(50 * time.Millisecond)
	eventually(t, "it lists again", func() bool { return lists() > 0 })
}
