package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap/registry"
)

// tcpService returns a service of two instances, with a secret.
func tcpService(name string) *registry.Service {
	s := &registry.Service{Name: name, Type: registry.TypeTCP, Settings: []registry.Setting{{Key: "webhook_secret", Value: "hush"}}}
	for _, host := range []string{"10.0.0.1", "10.0.0.2"} {
		s.Instances = append(s.Instances, registry.Instance{Settings: []registry.Setting{{Key: "host", Value: host}, {Key: "port", Value: "80"}}})
	}
	s.Complete()
	return s
}

// What is wrong with a command about a service is said before the log, each thing by its field.
func TestBadServiceCommands(t *testing.T) {
	limits := Limits{ValueMax: ValueMaxDefault, Level: Level}
	elsewhere := ServiceDelCommand("db")
	elsewhere.Slot++
	invalid := tcpService("db")
	invalid.Type = "udp"
	kept := ServiceDelCommand("db")
	kept.Condition, kept.Version = ConditionVersion, 3
	report := ReportCommand(7, &Report{Name: "db"})
	body := func(b ...byte) Command {
		return Command{Kind: CommandService, Slot: SlotOf([]byte("db")), Items: [][]byte{b}}
	}
	for what, c := range map[string]struct {
		c    Command
		want string
		is   error
	}{
		"another slot":        {elsewhere, `field slot: `, ErrRequest},
		"no name":             {ServiceDelCommand(""), "field name: 0 bytes; want 1 to 128", ErrRequest},
		"a long name":         {ServiceDelCommand(strings.Repeat("n", 129)), "the limit is 128", ErrTooLarge},
		"a long instance":     {ServiceRemoveCommand("db", strings.Repeat("n", 257)), "field instance: ", ErrTooLarge},
		"no definition":       {ServiceSetCommand("db", nil), "field definition: no service", ErrRequest},
		"a large definition":  {ServiceSetCommand("db", make([]byte, registry.ServiceMax+1)), "field definition: 262145 bytes; the limit is 262144", ErrTooLarge},
		"of another name":     {ServiceSetCommand("db", tcpService("web").Append(nil)), `field definition: it is of service "web"; want "db"`, ErrRequest},
		"a definition's type": {ServiceSetCommand("db", invalid.Append(nil)), "field type", ErrRequest},
		"a condition":         {kept, "field condition: ", ErrRequest},
		"a report":            {report, "proposed by the group itself", ErrRequest},
		"an op too many":      {body(0x92, 5, 0xa1, 'd'), "known are 1 to 4", ErrLevel},
		"too few fields":      {body(0x92, 1, 0xa1, 'd'), "service set of 2 fields, want 3", ErrRequest},
		"nothing":             {body(), "field body: ", ErrRequest},
	} {
		if err := c.c.Validate(limits); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	for _, c := range []Command{ServiceSetCommand("db", tcpService("db").Append(nil)), ServiceMaintainCommand("db", "i", true), ServiceRemoveCommand("db", "i")} {
		if err := c.Validate(limits); err != nil {
			t.Error(err)
		}
		if want := c.Items[0][1] == byte(ServiceRemove); c.Frees() != want {
			t.Errorf("full disks admit %v: %t, want %t", c.Items, !want, want)
		}
	}
}

// Whoever may look into a log may not see passwords for it.
func TestServicesAreDescribedWithoutSecrets(t *testing.T) {
	set := ServiceSetCommand("db", tcpService("db").Append(nil))
	for _, c := range []struct {
		c    Command
		want string
	}{
		{set, `service set "db" type "tcp" instances 2`},
		{ServiceDelCommand("db"), `service del "db"`},
		{ServiceMaintainCommand("db", "10.0.0.1:80", true), `service maintain "db" instance "10.0.0.1:80" on true`},
		{ServiceRemoveCommand("db", "10.0.0.1:80"), `service remove "db" instance "10.0.0.1:80"`},
		{ReportCommand(7, &Report{Name: "db", Rows: []ReportRow{
			{Instance: "a", Check: 3, Status: registry.Down, Reason: "refused", At: 5, Op: ReportStatus},
			{Instance: "b", Check: 3, At: 6, Op: ReportGone}, {Instance: "c", At: 2, Op: ReportHooked},
		}}), `report "db", status of "a" down check 3 at 5: "refused", gone of "b" check 3 down since 6, hooked of "c" count 2`},
	} {
		if got, err := c.c.Describe(); err != nil || got != c.want || strings.Contains(got, "hush") {
			t.Errorf("got %q, %v, want %q", got, err, c.want)
		}
	}
	if !bytes.Contains(set.Items[0], []byte("hush")) {
		t.Error("the command had no secret")
	}
}

// A slot with a service moves to a group whose time is another one: since when an instance is
// down stays what it was, so that it is not deregistered before its time, nor ever after.
func TestServiceMovesWithItsTime(t *testing.T) {
	slot := SlotOf([]byte("db"))
	from, to := owning([]Slot{slot}), NewMap(2)
	step := func(m *Map, now raft.GroupTime, c Command) Result {
		t.Helper()
		return apply(t, m, m.Applied().Index+1, now, &c)
	}
	sinceSlot := func(m *Map) (since, now uint64) {
		m.EachService(func(_ Slot, _ []byte, _, slotTime uint64, value []byte) bool {
			s, err := registry.Read(value)
			if err != nil {
				t.Fatal(err)
			}
			since, now = s.Instances[0].SinceSlot, slotTime
			return true
		})
		return since, now
	}
	const minute = raft.GroupTime(60e9)
	set := step(from, minute, ServiceSetCommand("db", tcpService("db").Append(nil)))
	down := ReportCommand(slot, &Report{Name: "db", Rows: []ReportRow{{Instance: "10.0.0.1:80", Check: set.Version, Status: registry.Down, Reason: "refused", At: 1, Op: ReportStatus}}})
	if r := step(from, 2*minute, down); r.Version == 0 {
		t.Fatalf("the report changes nothing: %+v", r)
	}
	step(from, 3*minute, Command{Kind: CommandCheck, Slot: slot, Items: items("db")})
	if since, now := sinceSlot(from); since != 120_000 || now != 180_000 {
		t.Fatalf("down since %d, at %d", since, now)
	}
	before, _, _ := from.Service([]byte("db"))
	was, clock := from.ServiceChanges(), uint64(180_000)
	for _, target := range []raft.GroupTime{1000 * minute, 0} { // a time that is ahead, and one that is behind
		to = NewMap(2)
		if target > 0 {
			if err := to.Skip(raft.LogID{Term: 1, Index: 1}, target); err != nil {
				t.Fatal(err)
			}
		}
		moved(t, from, to, slot, from.marks.of(slot)+1)
		if from.ServiceChanges() == was || to.ServiceChanges() == 0 {
			t.Error("nobody is told that the services went")
		}
		if since, now := sinceSlot(to); since != 120_000 || now != clock {
			t.Errorf("at a group whose time is %d it is down since %d, at %d", target, since, now)
		}
		if after, _, is := to.Service([]byte("db")); is != Present || !bytes.Equal(before, after) {
			t.Errorf("the service is %s: %q, was %q", is, after, before)
		}
		if _, _, is := from.Service([]byte("db")); is != NotOwned {
			t.Errorf("the former owner says that the service is %s", is)
		}
		if r := step(to, target+minute, ReportCommand(slot, &Report{Name: "db", Rows: []ReportRow{{Instance: "10.0.0.1:80", Check: set.Version, At: 119_999, Op: ReportGone}}})); r.Version != 0 {
			t.Error("an instance is deregistered for another time that it was down")
		}
		from, was, clock = to, to.ServiceChanges(), clock+60_000
	}
	if r := step(to, 2*minute, ReportCommand(slot, &Report{Name: "db", Rows: []ReportRow{{Instance: "10.0.0.1:80", Check: set.Version, At: 120_000, Op: ReportGone}}})); r.Version == 0 {
		t.Error("an instance is not deregistered")
	}
}

// A definition may show secrets masked, and the record has them in full: what does not fit
// with them is refused, since no replica could read it again.
func TestServiceTooLargeWithItsSecrets(t *testing.T) {
	large := func(secrets, others int, value string) *registry.Service {
		s := &registry.Service{Name: "db", Type: registry.TypeTTL}
		for n := range 3 {
			i := registry.Instance{ID: fmt.Sprint(n)}
			for k := range secrets {
				i.Settings = append(i.Settings, registry.Setting{Key: fmt.Sprintf("a%02d_secret", k), Value: value})
			}
			for k := range others {
				i.Settings = append(i.Settings, registry.Setting{Key: fmt.Sprintf("b%02d", k), Value: strings.Repeat("v", registry.SettingValueMax)})
			}
			s.Instances = append(s.Instances, i)
		}
		return s
	}
	m := owning([]Slot{SlotOf([]byte("db"))})
	set := func(index uint64, s *registry.Service) Result {
		t.Helper()
		c := ServiceSetCommand("db", s.Append(nil))
		if err := c.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}); err != nil {
			t.Fatal(err)
		}
		return apply(t, m, index, 0, &c)
	}
	if r := set(2, large(16, 0, strings.Repeat("s", registry.SettingValueMax))); r.Status != StatusApplied {
		t.Fatalf("%+v", r)
	}
	before, version, _ := m.Service([]byte("db"))
	if r := set(3, large(16, 16, registry.Mask)); r.Status != StatusServiceTooLarge || r.Version != 0 {
		t.Errorf("%+v", r)
	}
	if after, v, _ := m.Service([]byte("db")); v != version || !bytes.Equal(before, after) {
		t.Errorf("version %d, was %d", v, version)
	}
	if r := set(4, large(16, 1, registry.Mask)); r.Status != StatusApplied {
		t.Errorf("%+v", r)
	}
}

// A mask that stands for nothing would be the password, and the key of a webhook's signatures: a
// definition with one is refused, and told which they are, also if it is sent again.
func TestMaskThatStandsForNothing(t *testing.T) {
	define := func(hook, pass, note, json string) *registry.Service {
		s := &registry.Service{Name: "db", Type: registry.TypeRedis, Settings: []registry.Setting{{Key: "webhook_secret", Value: hook}}}
		for _, host := range []string{"10.0.0.1", "10.0.0.2"} {
			s.Instances = append(s.Instances, registry.Instance{Settings: []registry.Setting{
				{Key: "host", Value: host}, {Key: "port", Value: "80"}, {Key: "pass", Value: pass}, {Key: "note", Value: note},
				{Key: "login", Value: json, Raw: json != registry.Mask},
			}})
		}
		s.Complete()
		return s
	}
	const login = `{"user":"a","password":"b"}`
	secrets := define("hush", "hush", "n", login)
	masked := define(registry.Mask, registry.Mask, "n", registry.Mask) // as it is shown
	other := define("hush", "hush", "n", login)
	other.Instances = other.Instances[1:]
	all := []registry.SettingAt{{Setting: 0}, {Instance: 1, Setting: 1}, {Instance: 1, Setting: 3}, {Instance: 2, Setting: 1}, {Instance: 2, Setting: 3}}
	for _, tt := range []struct {
		what     string
		was, now *registry.Service
		want     []registry.SettingAt
	}{
		{"no service", nil, masked, all},
		{"all are known", secrets, masked, nil},
		{"an instance that is new", other, masked, all[1:3]},
		{"none had a secret", define("", "", "n", "{}"), masked, all},
		{"what is no secret", secrets, define("hush", "hush", registry.Mask, "{}"), []registry.SettingAt{{Instance: 1, Setting: 2}, {Instance: 2, Setting: 2}}},
	} {
		m := owning([]Slot{SlotOf([]byte("db"))})
		if tt.was != nil {
			c := ServiceSetCommand("db", tt.was.Append(nil))
			if r := apply(t, m, m.Applied().Index+1, 0, &c); r.Status != StatusApplied {
				t.Fatalf("%s: %+v", tt.what, r)
			}
		}
		before, version, _ := m.Service([]byte("db"))
		c := ServiceSetCommand("db", tt.now.Append(nil))
		c.Session, c.Sequence = 7, 1
		for range 2 {
			r := apply(t, m, m.Applied().Index+1, 0, &c)
			if tt.want == nil {
				if r.Status != StatusApplied {
					t.Errorf("%s: %+v", tt.what, r)
				}
				continue
			}
			count, shown, err := ReadMasked(r.Detail)
			if r.Status != StatusServiceMasked || count != len(tt.want) || !slices.Equal(shown, tt.want) || err != nil {
				t.Errorf("%s: %s, %d masked, at %v, %v; want %v", tt.what, r.Status, count, shown, err, tt.want)
			}
		}
		if after, v, _ := m.Service([]byte("db")); tt.want != nil && (v != version || !bytes.Equal(before, after)) {
			t.Errorf("%s: version %d, was %d", tt.what, v, version)
		}
	}
	// Of many the first are named, within what an outcome's detail may take.
	m := owning([]Slot{SlotOf([]byte("db"))})
	s := &registry.Service{Name: "db", Type: registry.TypeTTL}
	for n := range registry.InstancesMax {
		s.Instances = append(s.Instances, registry.Instance{ID: fmt.Sprint(n), Settings: []registry.Setting{{Key: "a_token", Value: map[bool]string{true: registry.Mask}[n >= 300]}}})
	}
	c := ServiceSetCommand("db", s.Append(nil))
	r := apply(t, m, 2, 0, &c)
	if count, shown, err := ReadMasked(r.Detail); count != registry.InstancesMax-300 || len(shown) != MaskedShownMax || shown[0].Instance != 301 || len(r.Detail) > maskedDetailMax || err != nil {
		t.Errorf("%d masked, %v, %v in %d bytes", count, shown, err, len(r.Detail))
	}
}

// The outcome of a command about a service is kept, whatever it was.
func TestServiceCommandsAreAppliedOnce(t *testing.T) {
	slot := SlotOf([]byte("db"))
	m := owning([]Slot{slot})
	all := []Command{
		ServiceDelCommand("db"), ServiceSetCommand("db", tcpService("db").Append(nil)), ServiceMaintainCommand("db", "10.0.0.1:80", true),
		ServiceRemoveCommand("db", "nobody"), ServiceRemoveCommand("db", "10.0.0.2:80"), ServiceDelCommand("db"),
	}
	want := []Status{StatusNoService, StatusApplied, StatusApplied, StatusNoInstance, StatusApplied, StatusApplied}
	var first []Result
	for try := range 2 {
		for i := range all {
			c := all[i]
			c.Session, c.Sequence = 5, uint64(i+1)
			r := apply(t, m, m.Applied().Index+1, 0, &c)
			if r.Status != want[i] {
				t.Errorf("%d: %s, want %s", i, r.Status, want[i])
			}
			if try == 0 {
				first = append(first, r)
			} else if !sameResult(r, first[i]) {
				t.Errorf("%d: a retry gets %+v, the first got %+v", i, r, first[i])
			}
		}
		// Outcomes of these statuses are in states as all are.
		b := mapBytes(t, m)
		at, now := m.Applied(), m.Time()
		m = NewMap(testGroup)
		if err := m.Load(bytes.NewReader(b), at, now); err != nil {
			t.Fatal(err)
		}
	}
}

// A record of a service that package registry could not read again would stop a group at the
// next command about it, long after: it is refused where it arrives.
func TestBadRecordsOfServices(t *testing.T) {
	slot := SlotOf([]byte("{a}db"))
	content := func(name string, value []byte) []byte {
		s := newStore(KindService)
		s.put([]byte(name), value, hashKey([]byte(name)), 1)
		rec := s.get([]byte(name), hashKey([]byte(name)))
		return appendEndItem(appendRecordItem(nil, rec), 1, 0, nil)
	}
	good := tcpService("{a}db").Append(nil)
	long := "{a}" + strings.Repeat("n", registry.NameMax)
	for what, c := range map[string]struct {
		name  string
		value []byte
		ok    bool
	}{
		"a service":            {"{a}db", good, true},
		"no service":           {"{a}db", []byte("value"), false},
		"a service cut off":    {"{a}db", good[:len(good)-1], false},
		"of another name":      {"{a}web", good, false},
		"with a long name":     {long, tcpService("{a}db").Append(nil), false},
		"a service too large":  {"{a}db", make([]byte, registry.ServiceMax+1), false},
		"in another slot":      {"{b}db", tcpService("{b}db").Append(nil), false},
		"nothing as a service": {"{a}db", nil, false},
	} {
		_, err := checkContent(&Piece{Slot: slot, Content: content(c.name, c.value)})
		if (err == nil) != c.ok {
			t.Errorf("%s in a piece: %v", what, err)
		}
		m := owning([]Slot{slot})
		m.slot(slot).of(KindService).put([]byte(c.name), c.value, hashKey([]byte(c.name)), 1)
		m.slot(slot).setLast(1)
		err = NewMap(testGroup).Load(bytes.NewReader(mapBytes(t, m)), m.Applied(), 0)
		if (err == nil) != c.ok {
			t.Errorf("%s in a state: %v", what, err)
		}
	}
}
