package logstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"
	"testing"

	"muster/logstore/vfs"
)

var testIdentity = Identity{
	Stage: StageMember, Cluster: "shop \"north\"\n", ClusterID: 0xc0ffee00c0ffee, Node: 0x1122334455667788,
	Chain: []Link{{Life{6, 1}, 0}, {Life{7, 0x1020304050607080}, 4711}}, Stopped: 4805, Settled: 6,
	Witness: Witness{1, 2, 3}, NextWitness: Witness{4, 5, 0}, Missed: []Witness{{6, 7, 8}, {9, 10, 11}}, Segments: []SegmentFile{{12, 13, 14}, {15, 16, 0}}, Doubt: Doubt{Why: "an \"older\" one\n", Proven: true},
	Meta:     MetaReplica{Incarnation: 2, ID: 9},
	Recovery: Recovery{Plan: 0x123456789abcdef, Done: true}, BlockFiles: true,
	Members: []IdentityMember{{0x1122334455667788, "127.0.0.1:4166"}, {5, "[::1]:4166"}},
}

// A node reads back who it is, on both disks.
func TestIdentity(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS{}} {
		dir := t.TempDir()
		must(t, fs.MkdirAll(dir))
		if _, found, err := ReadIdentity(fs, dir); found || err != nil {
			t.Errorf("%s: empty directory: got %v, %v", name, found, err)
		}
		for _, want := range []Identity{testIdentity, {Stage: StageFounding, Node: 3}, {Stage: StageFounded, Node: 4}, {Stage: StageStandby, Node: 5},
			{Stage: StageJoining, ClusterID: 7, Node: 5, Members: []IdentityMember{{Addr: "127.0.0.1:4166"}}}, {Stage: StageRemoved, Node: 6}} {
			must(t, WriteIdentity(fs, dir, want))
			got, found, err := ReadIdentity(fs, dir)
			if err != nil || !found || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: got %+v, %v, %v; want %+v", name, got, found, err, want)
			}
		}
	}
}

// A node that believes a rotten identity file is another node. Each bit of the
// file counts, and so does each missing end of it.
func TestIdentityDamage(t *testing.T) {
	good := testIdentity.append(nil, IdentityFormat)
	check := func(b []byte, what string) {
		t.Helper()
		fs := vfs.NewMem()
		must(t, fs.MkdirAll("d"))
		must(t, replaceFile(fs, "d", identityTemp, identityName, b))
		_, _, err := ReadIdentity(fs, "d")
		if !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), "d/identity") || !strings.Contains(err.Error(), "put back") {
			t.Errorf("%s: got %v, want ErrIdentity with file and remedy", what, err)
		}
	}
	for i := range good {
		for bit := range 8 {
			b := append([]byte(nil), good...)
			b[i] ^= 1 << bit
			check(b, fmt.Sprintf("bit %d of byte %d", bit, i))
		}
		check(good[:i], fmt.Sprintf("first %d bytes", i))
	}
	check(append(good, '\n'), "a line more")
	check(Identity{Stage: 9}.append(nil, IdentityFormat), "unknown stage")
	check(bytes.Replace(good, []byte("block-files yes"), []byte("block-files no"), 1), "a word that is none")
	check(Identity{Stage: StageMember, Meta: MetaReplica{ID: 3}}.append(nil, IdentityFormat), "a replica of no incarnation")
}

// An older binary must not guess at what a newer one wrote, nor a newer one at what it
// does not read any more. The error says which it is and what to do.
func TestIdentityOfAnotherFormat(t *testing.T) {
	for _, c := range []struct {
		format uint32
		want   error
		todo   string
	}{
		{IdentityFormat + 1, ErrNewerFormat, "start the newer muster"},
		{identityFormats.oldest - 1, ErrOlderFormat, "export the keys with the muster that wrote it"},
	} {
		fs := vfs.NewMem()
		must(t, fs.MkdirAll("d"))
		must(t, replaceFile(fs, "d", identityTemp, identityName, testIdentity.append(nil, c.format)))
		_, _, err := ReadIdentity(fs, "d")
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), fmt.Sprintf("format %d, this one reads %s", c.format, identityFormats)) || !strings.Contains(err.Error(), c.todo) || strings.Contains(err.Error(), "\n") {
			t.Errorf("format %d: got %v", c.format, err)
		}
	}
}

// An identity of an older format that is read is written anew in the newest one, with
// all that it said: the older one is read once.
func TestOlderIdentityIsWrittenAnew(t *testing.T) {
	older := testIdentity.append(nil, IdentityFormat-1)
	read := formats{oldest: IdentityFormat - 1, newest: IdentityFormat}
	id, err := parseIdentity(older, read)
	must(t, err)
	fs := vfs.NewMem()
	must(t, fs.MkdirAll("d"))
	must(t, replaceFile(fs, "d", identityTemp, identityName, older))
	must(t, WriteIdentity(fs, "d", id))
	again, found, err := ReadIdentity(fs, "d")
	if err != nil || !found || fmt.Sprint(again) != fmt.Sprint(testIdentity) {
		t.Errorf("got %+v, %v, %v; want %+v", again, found, err, testIdentity)
	}
	// The older binary can be put back as long as there is nothing that it could not read.
	for what, change := range map[string]func(*Identity){
		"":                      func(*Identity) {},
		"a standby":             func(id *Identity) { id.Stage = StageStandby },
		"one that joins":        func(id *Identity) { id.Stage = StageJoining },
		"one that was removed":  func(id *Identity) { id.Stage = StageRemoved },
		"one that was taken in": func(id *Identity) { id.Meta = MetaReplica{1, 9} },
		"one with block files":  func(id *Identity) { id.BlockFiles = true },
		"a recovered one":       func(id *Identity) { id.Recovery = Recovery{Plan: 7, Done: true} },
	} {
		id, want := testIdentity, uint32(IdentityFormat)
		if id.Stage, id.Meta, id.Recovery, id.BlockFiles = StageMember, (MetaReplica{}), (Recovery{}), false; what == "" {
			want = IdentityFormatOldest
		} else if what != "one with block files" {
			want = identityFormatNoFiles
		}
		change(&id)
		must(t, WriteIdentity(fs, "d", id))
		f, err := fs.Open("d/" + identityName)
		must(t, err)
		b := make([]byte, len(identityFirst)+2)
		_, err = f.ReadAt(b, 0)
		must(t, err)
		must(t, f.Close())
		if first := fmt.Sprintf("%s%d\n", identityFirst, want); !strings.HasPrefix(string(b), first) {
			t.Errorf("the identity of %s begins with %q, want %q", cmp.Or(what, "a member"), b, first)
		}
	}
	if _, err := parseIdentity(testIdentity.append(nil, IdentityFormat-2), read); !errors.Is(err, ErrOlderFormat) || !strings.Contains(err.Error(), fmt.Sprintf("reads formats %d to %d", read.oldest, read.newest)) {
		t.Errorf("two formats older: got %v", err)
	}
}
