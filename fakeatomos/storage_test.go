package fakeatomos_test

import (
	"encoding/base64"
	"testing"
	"time"

	"elemento.cloud/cluster-api-provider-elemento/c4"
	"elemento.cloud/cluster-api-provider-elemento/fakeatomos"
)

// volume asks for an empty private volume.
func volume(name string) c4.VolumeRequest {
	return c4.VolumeRequest{CreatorID: owner, Name: name, Private: true, Alg: "no", Format: "qcow2", Bus: "virtio", Size: 1}
}

// seedOf makes a complete seed.
func seedOf(t *testing.T, c *c4.Client, userData, metaData string) string {
	t.Helper()
	id, err := c.OpenSeed(t.Context(), c4.SeedRequest{CreatorID: owner, Name: "seed", Private: true, Bootable: true, Alg: "no", ExpectedFiles: 2}, []byte(userData))
	succeed(t, err)
	succeed(t, c.CompleteSeed(t.Context(), id, []byte(metaData)))
	return id
}

func TestAVolumeHasOneHolderUnlessItIsShareable(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	ctx := t.Context()
	id, err := c.CreateVolume(ctx, volume("data"))
	succeed(t, err)
	succeed(t, c.ExportVolume(ctx, owner, id))
	wantCode(t, c.ExportVolume(ctx, owner, id), c4.InUse)
	wantCode(t, c.ExportVolume(ctx, stranger, id), c4.NotFound)
	wantCode(t, c.DestroyVolume(ctx, id), c4.InUse)
	if v, err := c.Volume(ctx, id); err != nil || !v.Exported || v.Size != 1e9 {
		t.Errorf("an exported volume shows %+v, %v", v, err)
	}
	succeed(t, c.UnexportVolume(ctx, owner, id))
	succeed(t, c.UnexportVolume(ctx, owner, id)) // again changes nothing
	succeed(t, c.DestroyVolume(ctx, id))
	wantCode(t, c.DestroyVolume(ctx, id), c4.NotFound)
	_, err = c.Volume(ctx, id)
	wantCode(t, err, c4.NotFound)

	shared := volume("shared")
	shared.Shareable = true
	id, err = c.CreateVolume(ctx, shared)
	succeed(t, err)
	for range 2 {
		_, err = c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small(), Volumes: []c4.Volume{{VolumeID: id}}})
		succeed(t, err)
	}
}

func TestUnregisterReleasesVolumesAndKeepsThem(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	ctx := t.Context()
	id, err := c.CreateVolume(ctx, volume("data"))
	succeed(t, err)
	succeed(t, c.ExportVolume(ctx, owner, id))
	uid, err := c.Register(ctx, c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small(), Volumes: []c4.Volume{{VolumeID: id}}})
	succeed(t, err)
	wantCode(t, c.UnexportVolume(ctx, owner, id), c4.InUse)
	succeed(t, c.Unregister(ctx, c4.VMRef{ClientUID: owner, VMUID: uid}))
	v, err := c.Volume(ctx, id)
	succeed(t, err)
	if v.Exported {
		t.Error("the volume is still held")
	}
}

func TestVolumesAreSeenByTheirOwnerOrByAll(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	ctx := t.Context()
	if status, _ := raw(t, start(t, 1, nil).Hosts()[0], "POST", ":7772/api/v1.0/accessible", `{"client_uid":"x"}`); status != 204 {
		t.Errorf("an empty list answers %d, want 204", status)
	}
	private, err := c.CreateVolume(ctx, volume("private"))
	succeed(t, err)
	public := volume("public")
	public.Private = false
	_, err = c.CreateVolume(ctx, public)
	succeed(t, err)
	mine, err := c.Volumes(ctx, owner)
	succeed(t, err)
	theirs, err := c.Volumes(ctx, stranger)
	succeed(t, err)
	if len(mine) != 2 || !mine[0].Own || len(theirs) != 1 || theirs[0].Name != "public" || theirs[0].Own {
		t.Errorf("the owner sees %+v, a stranger %+v", mine, theirs)
	}
	_, err = c.Register(ctx, c4.RegisterRequest{ClientUID: stranger, Name: "thief", Pledge: small(), Volumes: []c4.Volume{{VolumeID: private}}})
	wantCode(t, err, c4.NotFound)
}

func TestVolumesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.Hosts[0].StorageGB = 10 }).Hosts()[0], "")
	for name, spoil := range map[string]func(*c4.VolumeRequest){
		"no creator":            func(v *c4.VolumeRequest) { v.CreatorID = "" },
		"no name":               func(v *c4.VolumeRequest) { v.Name = "" },
		"unknown format":        func(v *c4.VolumeRequest) { v.Format = "vmdk" },
		"unknown bus":           func(v *c4.VolumeRequest) { v.Bus = "nvme" },
		"bootable and shared":   func(v *c4.VolumeRequest) { v.Bootable, v.Shareable = true, true },
		"no size":               func(v *c4.VolumeRequest) { v.Size = 0 },
		"a size that overflows": func(v *c4.VolumeRequest) { v.Size = 1 << 62 },
	} {
		v := volume("v")
		spoil(&v)
		wantCode(t, c.CanCreateVolume(t.Context(), v), c4.Invalid)
		if _, err := c.CreateVolume(t.Context(), v); c4.CodeOf(err) != c4.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	v := volume("v")
	v.Size = 11
	wantCode(t, c.CanCreateVolume(t.Context(), v), c4.CannotPlace)
	v.Size = 6
	succeed(t, c.CanCreateVolume(t.Context(), v))
	_, err := c.CreateVolume(t.Context(), v)
	succeed(t, err)
	_, err = c.CreateVolume(t.Context(), v)
	wantCode(t, err, c4.CannotPlace)
}

func TestABootVolumeNeedsAnImageOfTheCatalogue(t *testing.T) {
	t.Parallel()
	c := dial(t, start(t, 1, nil).Hosts()[0], "")
	ask := func(url string) error {
		_, err := c.CreateImageVolume(t.Context(), c4.ImageVolumeRequest{CreatorID: owner, Name: "boot", Private: true, Bootable: true, Clonable: true, Alg: "cp", Format: "qcow2", Bus: "virtio", Size: 10, URL: url})
		return err
	}
	for _, url := range []string{"https://images.example/ubuntu-v1.36.3.qcow2", "https://images.example/a/b/ubuntu-v1.36.3.img?x=1", "file:///ubuntu-v1.36.3"} {
		succeed(t, ask(url))
	}
	for _, url := range []string{"", "ubuntu-v1.36.3", "https://images.example/none.qcow2", "https://images.example/", "::"} {
		wantCode(t, ask(url), c4.Invalid)
	}
}

func TestAnImportNeedsAToken(t *testing.T) {
	t.Parallel()
	in := c4.VolumeImportRequest{CreatorID: owner, Name: "old", Private: true, Alg: "no", Format: "raw", Bus: "virtio", Path: "/mnt/old.raw"}
	_, err := dial(t, start(t, 1, nil).Hosts()[0], "").ImportVolume(t.Context(), in)
	wantCode(t, err, c4.Unauthenticated)
	c := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.Token = "secret" }).Hosts()[0], "secret")
	id, err := c.ImportVolume(t.Context(), in)
	succeed(t, err)
	succeed(t, c.DestroyVolume(t.Context(), id))
}

func TestASeedTakesTwoUploads(t *testing.T) {
	t.Parallel()
	f := start(t, 1, nil)
	c := dial(t, f.Hosts()[0], "")
	ctx := t.Context()
	id, err := c.OpenSeed(ctx, c4.SeedRequest{CreatorID: owner, Name: "seed", Private: true, Bootable: true, Alg: "no", ExpectedFiles: 2}, []byte("u"))
	succeed(t, err)
	request := c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small(), Volumes: []c4.Volume{{VolumeID: id}}}
	_, err = c.Register(ctx, request)
	wantCode(t, err, c4.CannotPlace) // half a seed
	if vol := f.Inventory().Hosts[0].Volumes[0]; !vol.Seed || vol.Complete {
		t.Errorf("half a seed is %+v", vol)
	}
	succeed(t, c.CompleteSeed(ctx, id, []byte("m")))
	wantCode(t, c.CompleteSeed(ctx, id, []byte("m")), c4.InUse)
	_, err = c.Register(ctx, request)
	succeed(t, err)
	wantCode(t, c.CompleteSeed(ctx, "none", []byte("m")), c4.NotFound)
	plain, err := c.CreateVolume(ctx, volume("plain"))
	succeed(t, err)
	wantCode(t, c.CompleteSeed(ctx, plain, []byte("m")), c4.Invalid)
	for _, bad := range []c4.SeedRequest{{Name: "n", ExpectedFiles: 2}, {CreatorID: owner, ExpectedFiles: 2}, {CreatorID: owner, Name: "n"}} {
		_, err = c.OpenSeed(ctx, bad, []byte("u"))
		wantCode(t, err, c4.Invalid)
	}
}

func TestAnUploadIsCheckedAsPublished(t *testing.T) {
	t.Parallel()
	h := start(t, 1, nil).Hosts()[0]
	descriptor := base64.StdEncoding.EncodeToString([]byte(`{"creatorID":"` + owner + `","name":"n>>>???","private":true,"expectedFiles":2}`))
	for name, path := range map[string]string{"no file": descriptor, "bad base64": "%21%21", "no JSON": "aGVsbG8=", "nothing": ""} {
		if status, text := raw(t, h, "POST", ":7772/api/v1.0/cloudinit/metadata/"+path, ""); status != 400 {
			t.Errorf("%s: %d %s, want 400", name, status, text)
		}
	}
	if status, _ := raw(t, h, "POST", ":7772/api/v1.0/cloudinit/metadata", ""); status != 404 {
		t.Error("an upload without a descriptor was found")
	}
}

func TestAVolumeMayBecomeVisibleLate(t *testing.T) {
	t.Parallel()
	never := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.VolumeDelay = time.Hour }).Hosts()[0], "")
	id, err := never.CreateVolume(t.Context(), volume("late"))
	succeed(t, err)
	_, err = never.Volume(t.Context(), id)
	wantCode(t, err, c4.NotFound)
	_, err = never.Register(t.Context(), c4.RegisterRequest{ClientUID: owner, Name: "vm", Pledge: small(), Volumes: []c4.Volume{{VolumeID: id}}})
	wantCode(t, err, c4.NotFound)
	if list, err := never.Volumes(t.Context(), owner); err != nil || len(list) != 0 {
		t.Errorf("it is listed: %v, %v", list, err)
	}

	soon := dial(t, start(t, 1, func(o *fakeatomos.Options) { o.VolumeDelay = 30 * time.Millisecond }).Hosts()[0], "")
	id, err = soon.CreateVolume(t.Context(), volume("late"))
	succeed(t, err)
	eventually(t, "the volume is there", func() bool { _, err := soon.Volume(t.Context(), id); return err == nil })
}
