package registry

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"muster/repl/memtest"
	"muster/shardmap/pack"
)

// shop is a service with everything: secrets of each kind, states, changes.
func shop() *Service {
	s := &Service{
		Name: "shop", Type: TypeMySQL,
		Settings: []Setting{{Key: "protect", Value: "30"}, {Key: "webhook", Value: "https://hooks.example/a"}, {Key: "webhook_secret", Value: "hush"}},
		Instances: []Instance{
			{Settings: []Setting{{Key: "port", Value: "3306"}, {Key: "host", Value: "10.0.0.1"}, {Key: "pass", Value: "p4ss"}, {Key: "user", Value: "u"}}},
			{Settings: []Setting{{Key: "host", Value: "10.0.0.2"}, {Key: "port", Value: "3306"}, {Key: "api_TOKEN", Value: "t0k"},
				{Key: "extra", Value: `{"a":[1,{"db_password":"nested"}]}`, Raw: true}, {Key: "rack", Value: `7`, Raw: true}, {Key: "zone", Value: "north"}}},
		},
	}
	s.Complete()
	i := &s.Instances[1]
	i.Check, i.Maintenance, i.Hooked = 17, true, 1
	i.Report(Up, "connected", 1_700_000_000_123, 55)
	i.Report(Down, "connection refused", 1_700_000_001_000, 66)
	return s
}

var secretsOfShop = []string{"hush", "p4ss", "t0k", "nested"}

func TestServiceComesBack(t *testing.T) {
	s := shop()
	b := s.Append(nil)
	back, err := Read(b)
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Fatalf("got %+v, %v\nwant %+v", back, err, s)
	}
	if again := back.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("%x became %x", b, again)
	}
	empty := &Service{Name: "a", Type: TypeTTL}
	if back, err := Read(empty.Append(nil)); err != nil || !reflect.DeepEqual(back, empty) {
		t.Errorf("got %+v, %v", back, err)
	}
}

// A secret that is forgotten in one of the ways out is one that everybody knows.
func TestSecretsStayInside(t *testing.T) {
	s := shop()
	public, err := Public(s.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	shown, err := s.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Read(public)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Public(public)
	if err != nil || !bytes.Equal(again, public) {
		t.Errorf("public bytes became %q, %v", again, err)
	}
	for _, secret := range secretsOfShop {
		if !bytes.Contains(s.Append(nil), []byte(secret)) {
			t.Errorf("the record lost %q", secret)
		}
		for name, out := range map[string][]byte{"Public": public, "MarshalJSON": shown} {
			if bytes.Contains(out, []byte(secret)) {
				t.Errorf("%s shows %q: %q", name, secret, out)
			}
		}
	}
	s.Redact()
	if !reflect.DeepEqual(back, s) {
		t.Errorf("Public leaves %+v\nRedact leaves %+v", back, s)
	}
}

func TestPublicRefuses(t *testing.T) {
	whole := shop().Append(nil)
	for end := range whole {
		if _, err := Public(whole[:end]); !errors.Is(err, ErrService) {
			t.Fatalf("the first %d bytes of %d: got %v", end, len(whole), err)
		}
	}
	if _, err := Public(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrService) {
		t.Errorf("a byte more: got %v", err)
	}
}

// What no Append writes is refused: a replica that took it would hold what another can't read.
func TestReadRefuses(t *testing.T) {
	value := func(settings, instances, secrets string) []byte {
		b := pack.AppendArray(nil, 6)
		b = pack.AppendUint(b, 1)
		b = pack.AppendString(b, "n")
		b = pack.AppendString(b, "ttl")
		return []byte(string(b) + settings + instances + secrets)
	}
	state := "\x00\x00\xc2\xa0\x00\x00\x90\x00\x00"
	for _, c := range []struct{ name, settings, instances, secrets, want string }{
		{"good", "\x91\x92\xa1a\xa1b", "\x91\x9b\xa1i\x90" + state, "\x90", ""},
		{"good secret", "\x91\x92\xa4pass\xa8********", "\x90", "\x91\x93\x00\xa4pass\xa1x", ""},
		{"twice the same key", "\x92\x92\xa1a\xa1b\x92\xa1a\xa1b", "\x90", "\x90", "not in order"},
		{"falling keys", "\x92\x92\xa1b\xa1b\x92\xa1a\xa1b", "\x90", "\x90", "not in order"},
		{"no key", "\x91\x92\xa0\xa1b", "\x90", "\x90", "not in order"},
		{"raw that is no JSON", "\x91\x93\xa1a\xa1{\xc3", "\x90", "\x90", "not JSON"},
		{"raw of nothing", "\x91\x93\xa1a\xa0\xc3", "\x90", "\x90", "not JSON"},
		{"raw that is not", "\x91\x93\xa1a\xa11\xc2", "\x90", "\x90", "not raw"},
		{"a setting of one", "\x91\x91\xa1a", "\x90", "\x90\x90", "2 parts"},
		{"clear secret", "\x91\x92\xa4pass\xa1x", "\x90", "\x90", "in clear"},
		{"clear secret within", "\x91\x93\xa1a\xaa{\"pass\":1}\xc3", "\x90", "\x90", "in clear"},
		{"secret of nobody", "\x90", "\x90", "\x91\x93\x00\xa4pass\xa1x", "of no setting"},
		{"secret of an instance beyond", "\x90", "\x90", "\x91\x93\x01\xa4pass\xa1x", "over the limit"},
		{"secret twice", "\x91\x92\xa4pass\xa8********", "\x90", "\x92\x93\x00\xa4pass\xa1x\x93\x00\xa4pass\xa1x", "not in order"},
		{"secret that is a mask", "\x91\x92\xa4pass\xa8********", "\x90", "\x91\x93\x00\xa4pass\xa8********", "that is none"},
		{"secret of a plain key", "\x91\x92\xa1a\xa8********", "\x90", "\x91\x93\x00\xa1a\xa1x", "that is none"},
		{"status 4", "\x90", "\x91\x9b\xa1i\x90\x00\x04\xc2\xa0\x00\x00\x90\x00\x00", "\x90", "over the limit"},
		{"hooked beyond count", "\x90", "\x91\x9b\xa1i\x90\x00\x00\xc2\xa0\x00\x00\x90\x01\x00", "\x90", "more changes"},
		{"changes beyond count", "\x90", "\x91\x9b\xa1i\x90\x00\x00\xc2\xa0\x00\x00\x91\x94\x01\x00\x01\xa0\x00\x00", "\x90", "more changes"},
		{"array32 of settings", "\xdd\xff\xff\xff\xff", "\x90", "\x90", "claims"},
		{"65 settings", "\xdc\x00\x41" + strings.Repeat("\x92\xa1a\xa0", 65), "\x90", "\x90", "65 settings"},
		{"a long value", "\x91\x92\xa1a\xda\x10\x01" + strings.Repeat("v", 4097), "\x90", "\x90", "4097 bytes"},
	} {
		s, err := Read(value(c.settings, c.instances, c.secrets))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !errors.Is(err, ErrService) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %+v, %v; want %q", c.name, s, err, c.want)
		}
	}
	whole := shop().Append(nil)
	for end := range whole {
		if _, err := Read(whole[:end]); !errors.Is(err, ErrService) {
			t.Fatalf("the first %d bytes of %d: got %v", end, len(whole), err)
		}
	}
	if _, err := Read(make([]byte, ServiceMax+1)); !errors.Is(err, ErrService) {
		t.Errorf("too long: %v", err)
	}
}

// Nobody could read a record above the limit, so changes have to give way; all replicas
// leave out the same.
func TestRecordKeepsWithinItsLimit(t *testing.T) {
	s := &Service{Name: "big", Type: TypeTTL, Instances: make([]Instance, InstancesMax)}
	long := strings.Repeat("r", ReasonMax)
	for n := range s.Instances {
		i := &s.Instances[n]
		i.ID = string(rune('a'+n%26)) + strings.Repeat("x", n)[:n%100] + string(rune('0'+n/100)) + string(rune('0'+n/10%10)) + string(rune('0'+n%10))
		i.Check, i.SinceSlot, i.Hooked = math.MaxUint64, math.MaxUint64, 30
		for c := range 30 {
			i.Report(Status(1+c%2), long, math.MaxInt64, math.MaxUint64)
		}
		if len(i.Changes) != ChangesMax || i.Count != 30 {
			t.Fatalf("%d changes of %d", len(i.Changes), i.Count)
		}
	}
	b := s.Append(nil)
	back, err := Read(b)
	if err != nil || len(back.Instances) != InstancesMax {
		t.Fatalf("%d bytes: %v", len(b), err)
	}
	if again := back.Append(nil); !bytes.Equal(again, b) {
		t.Error("what was read back is written in another way")
	}
	few := &Service{Name: "few", Type: TypeTTL, Instances: s.Instances[:40]}
	back, err = Read(few.Append(nil))
	if err != nil || len(back.Instances[39].Changes) != ChangesMax {
		t.Errorf("40 instances lost changes, or %v", err)
	}
}

// Where there is no room for all changes, those go first that the webhook was told of; of the
// last of them stays what the next one began from.
func TestUntoldChangesStayLongest(t *testing.T) {
	long := strings.Repeat("r", ReasonMax)
	record := func(untold uint64) *Service {
		s := &Service{Name: "big", Type: TypeTTL, Instances: make([]Instance, 80)}
		for n := range s.Instances {
			i := &s.Instances[n]
			i.ID = string([]byte{byte('a' + n/26), byte('a' + n%26)})
			for c := range ChangesMax {
				i.Report(Status(1+c%2), long, 1, 1)
			}
			if n%2 == 0 {
				i.Hooked = i.Count - untold
			}
		}
		return s
	}
	kept := func(s *Service) (some, others int) {
		t.Helper()
		back, err := Read(s.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		return len(back.Instances[0].Changes), len(back.Instances[1].Changes)
	}
	if some, others := kept(record(3)); some != 4 || others <= some {
		t.Errorf("of 3 changes that are not told %d are kept, and of %d %d", some, ChangesMax, others)
	}
	if some, others := kept(record(0)); some >= others || others != ChangesMax {
		t.Errorf("%d changes are kept of an instance that has told all, %d of one that has told none", some, others)
	}
	if some, others := kept(record(ChangesMax)); some != others || some == 0 || some == ChangesMax {
		t.Errorf("%d and %d changes are kept of instances that have told none", some, others)
	}
}

func TestSpecComesBack(t *testing.T) {
	for _, s := range []*Service{
		shop(),
		{Name: "c", Type: TypeCustom, Instances: []Instance{{ID: "x", Settings: []Setting{{Key: "priority", Value: "3"}, {Key: "script", Value: "ok"}, {Key: "weird", Value: "[1]", Raw: true}}}}},
		{Name: "w", Type: TypeWeb, Instances: []Instance{{ID: "x", Settings: []Setting{{Key: "expect", Value: "2XX, 301"}, {Key: "timeout", Value: "50"}, {Key: "url", Value: "https://a/"}}}}},
	} {
		for n := range s.Instances {
			p, err := s.Instances[n].Spec(s)
			if err != nil {
				t.Fatal(err)
			}
			b := p.AppendTo(nil)
			back, err := ReadSpec(b)
			if err != nil || !reflect.DeepEqual(back, p) {
				t.Errorf("got %+v, %v\nwant %+v", back, err, p)
			}
			for end := range b {
				if _, err := ReadSpec(b[:end]); !errors.Is(err, ErrService) {
					t.Fatalf("%d bytes of %d: %v", end, len(b), err)
				}
			}
		}
	}
}

// Hostile bytes cost no more than they are worth.
func FuzzRead(f *testing.F) {
	whole := shop().Append(nil)
	public, _ := Public(whole)
	f.Add(whole)
	f.Add(public)
	f.Add([]byte("\x96\x01\xa1n\xa3ttl\xdd\xff\xff\xff\xff"))
	f.Add([]byte("\x96\x01\xa1n\xa3ttl\x90\xdc\x02\x00" + strings.Repeat("\x90", 512)))
	f.Add(append([]byte("\x96\x01\xa1n\xa3ttl\x90\xdc\x02\x00"), bytes.Repeat([]byte("\x9b\xa0\x90\x00\x00\xc2\xa0\x00\x00\x90\x00\x00"), 512)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := readHostile(t, b, Read)
		if !ok {
			return
		}
		again := s.Append(nil)
		back, err := Read(again)
		if err != nil || !reflect.DeepEqual(back, s) {
			t.Fatalf("%+v came back as %+v, %v", s, back, err)
		}
		public, err := Public(again)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.MarshalJSON(); err != nil {
			t.Fatalf("%+v can't be shown: %v", s, err)
		}
		hidden, err := Read(public)
		if err != nil {
			t.Fatal(err)
		}
		s.Redact()
		if !reflect.DeepEqual(hidden, s) {
			t.Fatalf("Public leaves %+v\nRedact leaves %+v", hidden, s)
		}
	})
}

// FuzzReadSpec likewise.
func FuzzReadSpec(f *testing.F) {
	s := shop()
	p, _ := s.Instances[0].Spec(s)
	f.Add(p.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := readHostile(t, b, ReadSpec)
		if !ok {
			return
		}
		if back, err := ReadSpec(p.AppendTo(nil)); err != nil || !reflect.DeepEqual(back, p) {
			t.Fatalf("%+v came back as %+v, %v", p, back, err)
		}
	})
}

// readHostile reads bytes of anybody. It reports false if they are refused, which is a typed
// error, and checks that they do not cost more memory than they are worth.
func readHostile[T any](t *testing.T, b []byte, read func([]byte) (T, error)) (v T, ok bool) {
	t.Helper()
	var err error
	used := memtest.Allocated(func() { v, err = read(b) })
	if limit := 16*len(b) + 4<<10; used > limit {
		t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
	}
	if err != nil && !errors.Is(err, ErrService) {
		t.Fatalf("untyped error %v", err)
	}
	return v, err == nil
}
