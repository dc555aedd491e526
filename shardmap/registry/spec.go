package registry

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"muster/shardmap/pack"
)

// Spec is what a checker needs to check an instance: its settings as values, with the defaults
// filled in. It holds secrets.
type Spec struct {
	Type       string
	Service    string // the names of what is checked, for the programs of [TypeCustom] alone
	Instance   string
	Host       string
	Port       uint16
	User       string
	Pass       string
	Database   string // of Redis: a number
	URL        string
	Script     string // name of a program
	ServerName string // that the certificate must have; "": Host, or the host of URL
	Health     string // grpc: the service to ask for; "": the server as a whole
	TLS        bool   // mysql, pgsql, redis, grpc
	SkipVerify bool   // accept any certificate
	Expect     []StatusRange
	Interval   time.Duration
	Timeout    time.Duration
	Rise       int       // good results in a row that make it up
	Fall       int       // bad results in a row that make it down
	Settings   []Setting // all that the instance has, for the programs of [TypeCustom] alone
}

// StatusRange is a range of HTTP statuses, both ends in it.
type StatusRange struct{ From, To uint16 }

// HTTP statuses are from statusMin to statusMax; a class is statusClass of them.
const (
	statusMin   = 100
	statusMax   = 599
	statusClass = 100
)

// expectDefault is what a web server may answer: a redirect is an answer too.
const expectDefault = "2xx,3xx"

// expectMax bounds the ranges of one setting.
const expectMax = 16

// Expects reports whether an HTTP status is that of an instance which is up.
func (p *Spec) Expects(status int) bool {
	for _, r := range p.Expect {
		if status >= int(r.From) && status <= int(r.To) {
			return true
		}
	}
	return false
}

// Spec returns how the instance, which is one of s, is to be checked. Its error is for people:
// the service was not validated, or a secret of it is not known here.
func (i *Instance) Spec(s *Service) (Spec, error) {
	p := Spec{
		Type: s.Type, Host: i.Get(keyHost), User: i.Get("user"), Pass: i.Get("pass"), Database: i.Get(keyDatabase),
		URL: i.Get(keyURL), Script: i.Get(keyScript), ServerName: i.Get("server_name"), Health: i.Get("grpc_service"),
		Rise: RiseDefault, Fall: FallDefault, Interval: IntervalDefault,
	}
	if p.Pass == Mask {
		return p, fmt.Errorf("field pass: masked, and no former one is known; set it anew")
	}
	for _, n := range []struct {
		key     string
		limit   uint64
		becomes func(v uint64)
	}{
		{keyPort, portMax, func(v uint64) { p.Port = uint16(v) }},
		{keyInterval, uint64(IntervalMax / time.Millisecond), func(v uint64) { p.Interval = time.Duration(v) * time.Millisecond }},
		{keyTimeout, uint64(TimeoutMax / time.Millisecond), func(v uint64) { p.Timeout = time.Duration(v) * time.Millisecond }},
		{"rise", ThresholdMax, func(v uint64) { p.Rise = int(v) }},
		{"fall", ThresholdMax, func(v uint64) { p.Fall = int(v) }},
	} {
		if err := i.number(n.key, n.limit, n.becomes); err != nil {
			return p, err
		}
	}
	if p.Timeout == 0 {
		p.Timeout = min(p.Interval, TimeoutDefault)
	}
	p.TLS, p.SkipVerify = i.Get("tls") == on, i.Get("tls_skip_verify") == on
	switch s.Type {
	case TypeWeb:
		expect := i.Get("expect")
		if expect == "" {
			expect = expectDefault
		}
		var ok bool
		if p.Expect, ok = readExpect(expect); !ok {
			return p, fmt.Errorf("field expect: %q", expect)
		}
	case TypeCustom:
		p.Service, p.Instance = s.Name, i.ID
		for _, x := range i.Settings {
			// Neither says how the instance is checked: a change of one voids no result.
			if x.Key != keyPriority && x.Key != keyTags {
				p.Settings = append(p.Settings, x)
			}
		}
	}
	return p, nil
}

// number reads a setting that is a number above 0, if it is there.
func (i *Instance) number(key string, limit uint64, becomes func(uint64)) error {
	v := i.Get(key)
	if v == "" {
		return nil
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || n == 0 || n > limit {
		return fmt.Errorf("field %s: %q; want a number from 1 to %d", key, v, limit)
	}
	becomes(n)
	return nil
}

// readExpect reads statuses and classes with commas between them: "2xx,301".
func readExpect(v string) (list []StatusRange, ok bool) {
	for part := range strings.SplitSeq(v, ",") {
		part = strings.TrimSpace(part)
		class, isClass := strings.CutSuffix(strings.ToLower(part), "xx")
		from, err := strconv.ParseUint(class, 10, 16)
		to := from
		if isClass {
			from *= statusClass
			to = from + statusClass - 1
		}
		if err != nil || from < statusMin || to > statusMax || len(list) == expectMax {
			return nil, false
		}
		list = append(list, StatusRange{From: uint16(from), To: uint16(to)})
	}
	return list, true
}

// A spec on the wire, where package wire has it as bytes:
//
//	[type, service, instance, host, port, user, pass, database, url, script, server name, health,
//	 tls, skip verify, [from, to …], interval ms, timeout ms, rise, fall, settings]
const specParts = 20

// AppendTo appends the bytes of the spec.
func (p *Spec) AppendTo(b []byte) []byte {
	b = pack.AppendArray(b, specParts)
	for _, v := range []string{p.Type, p.Service, p.Instance, p.Host} {
		b = pack.AppendString(b, v)
	}
	b = pack.AppendUint(b, uint64(p.Port))
	for _, v := range []string{p.User, p.Pass, p.Database, p.URL, p.Script, p.ServerName, p.Health} {
		b = pack.AppendString(b, v)
	}
	b = pack.AppendBool(b, p.TLS)
	b = pack.AppendBool(b, p.SkipVerify)
	b = pack.AppendArray(b, 2*len(p.Expect))
	for _, r := range p.Expect {
		b = pack.AppendUint(b, uint64(r.From))
		b = pack.AppendUint(b, uint64(r.To))
	}
	b = pack.AppendUint(b, uint64(p.Interval/time.Millisecond))
	b = pack.AppendUint(b, uint64(p.Timeout/time.Millisecond))
	b = pack.AppendUint(b, uint64(p.Rise))
	b = pack.AppendUint(b, uint64(p.Fall))
	b = pack.AppendArray(b, 3*len(p.Settings))
	for _, x := range p.Settings {
		b = pack.AppendString(b, x.Key)
		b = pack.AppendString(b, x.Value)
		b = pack.AppendBool(b, x.Raw)
	}
	return b
}

// ReadSpec reads the bytes of a spec, and trusts them as little as [Read] does. The spec does
// not alias b.
func ReadSpec(b []byte) (Spec, error) {
	if len(b) > ServiceMax {
		return Spec{}, bad(fmt.Errorf("a spec of %d bytes; the limit is %d", len(b), ServiceMax))
	}
	d := decoder{Reader: pack.NewReader(b), text: string(b)}
	d.ArrayLen(specParts)
	value := func() string { return d.string("setting", SettingValueMax) }
	p := Spec{Type: d.string("type", NameMax), Service: d.string("name", NameMax), Instance: d.string("id", IDMax), Host: value(),
		Port: uint16(d.UintMax(portMax)), User: value(), Pass: value(), Database: value(), URL: value(), Script: value(),
		ServerName: value(), Health: value(), TLS: d.Bool(), SkipVerify: d.Bool()}
	if n := d.list("statuses", 2*expectMax, 1); n > 0 {
		if n%2 != 0 {
			d.Fail("half a range of statuses")
		}
		p.Expect = make([]StatusRange, n/2)
		for i := range p.Expect {
			p.Expect[i] = StatusRange{From: uint16(d.UintMax(statusMax)), To: uint16(d.UintMax(statusMax))}
		}
	}
	p.Interval = time.Duration(d.UintMax(uint64(IntervalMax/time.Millisecond))) * time.Millisecond
	p.Timeout = time.Duration(d.UintMax(uint64(TimeoutMax/time.Millisecond))) * time.Millisecond
	p.Rise, p.Fall = int(d.UintMax(ThresholdMax)), int(d.UintMax(ThresholdMax))
	if n := d.list("settings", 3*SettingsMax, 1); n > 0 {
		if n%3 != 0 {
			d.Fail("part of a setting")
		}
		p.Settings = make([]Setting, n/3)
		for i := range p.Settings {
			p.Settings[i] = Setting{Key: d.string("key", SettingKeyMax), Value: value(), Raw: d.Bool()}
		}
	}
	if d.Err() == nil && (p.Interval == 0 || p.Timeout == 0 || p.Rise == 0 || p.Fall == 0) {
		d.Fail("a spec without interval, timeout, rise or fall")
	}
	if err := d.Done(); err != nil {
		return Spec{}, bad(err)
	}
	return p, nil
}
