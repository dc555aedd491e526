package points

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A key decides where a series is stored and what it is called: one series must have one key, in whatever
// order its tags come and whatever its names hold, and the key must read as the series.
func TestKeys(t *testing.T) {
	for _, c := range []struct {
		series Series
		want   string
	}{
		{Series{"cpu", nil}, `cpu`},
		{Series{"cpu", []Tag{{"host", "a"}}}, `cpu,host=a`},
		{Series{"cpu", []Tag{{"region", "eu"}, {"host", "a"}}}, `cpu,host=a,region=eu`},
		{Series{"c p,u=1", []Tag{{"a b", "c,d"}, {"e=f", "g=h"}}}, `c\ p\,u=1,a\ b=c\,d,e\=f=g\=h`},
		{Series{`a\b`, []Tag{{`c\d`, `e\\f`}}}, `a\b,c\d=e\\f`},
		{Series{`a\,b`, []Tag{{`c\=d`, `e\ f`}}}, `a\\,b,c\\=d=e\\ f`},
		{Series{"m", []Tag{{"a-", "1"}, {"a,", "2"}, {"a", "3"}}}, `m,a=3,a\,=2,a-=1`}, // by what they are: , is before -
		{Series{"größe", []Tag{{"ort", "Köln"}}}, `größe,ort=Köln`},
		{Series{`"m"`, []Tag{{`"`, `"`}}}, `"m","="`},
		{Series{"=", nil}, `=`},
		{Series{" ", []Tag{{" ", " "}}}, `\ ,\ =\ `},
	} {
		got, err := c.series.AppendKey([]byte("x"))
		if string(got) != "x"+c.want || err != nil {
			t.Errorf("key of %q: got %q, %v, want %q", c.series, got, err, c.want)
			continue
		}
		back, err := ParseKey(got[1:])
		want := Series{c.series.Measurement, slices.Clone(c.series.Tags)}
		slices.SortFunc(want.Tags, func(a, b Tag) int { return strings.Compare(a.Name, b.Name) })
		if !reflect.DeepEqual(back, want) || err != nil {
			t.Errorf("series of %q: got %q, %v, want %q", got[1:], back, err, want)
		}
	}
}

func TestKeysRefused(t *testing.T) {
	many := make([]Tag, TagsMax+1)
	for i := range many {
		many[i] = Tag{strings.Repeat("t", i+1), "v"}
	}
	for _, c := range []struct {
		series Series
		want   Error
	}{
		{Series{}, Error{Reason: MissingMeasurement}},
		{Series{"#cpu", nil}, Error{Reason: CommentedMeasurement, Name: "#cpu"}},
		{Series{"cpu", []Tag{{"", "v"}}}, Error{Reason: MissingTagKey, Name: "cpu"}},
		{Series{"cpu", []Tag{{"a", "1"}, {"", "v"}}}, Error{Reason: MissingTagKey, Name: "a"}},
		{Series{"cpu", []Tag{{"a", ""}}}, Error{Reason: MissingTagValue, Name: "a"}},
		{Series{"cpu", []Tag{{"a", "1"}, {"a", "2"}}}, Error{Reason: DuplicateTag, Name: "a"}},
		{Series{"cpu", []Tag{{"b", "1"}, {"a", "1"}, {"b", "2"}}}, Error{Reason: DuplicateTag, Name: "b"}},
		{Series{"cpu", many}, Error{Reason: TooManyTags}},
		{Series{strings.Repeat("m", KeyMax+1), nil}, Error{Reason: KeyTooLong}},
		{Series{`cpu\`, nil}, Error{Reason: TrailingBackslash, Name: `cpu\`}},
		{Series{"cpu", []Tag{{`a\`, "1"}}}, Error{Reason: TrailingBackslash, Name: `a\`}},
		{Series{"cpu", []Tag{{"a", `1\`}}}, Error{Reason: TrailingBackslash, Name: `1\`}},
		{Series{"c\npu", nil}, Error{Reason: InvalidName, Name: "c\npu"}},
		{Series{"cpu", []Tag{{"a\x00", "1"}}}, Error{Reason: InvalidName, Name: "a\x00"}},
		{Series{"cpu", []Tag{{"a", "1\x7f"}}}, Error{Reason: InvalidName, Name: "1\x7f"}},
		{Series{"cpu", []Tag{{"a", "1\u0085"}}}, Error{Reason: InvalidName, Name: "1\u0085"}}, // C1
		{Series{"cpu", []Tag{{"a", "\xff"}}}, Error{Reason: InvalidName, Name: "\xff"}},
	} {
		got, err := c.series.AppendKey([]byte("x"))
		if err != c.want || string(got) != "x" {
			t.Errorf("key of %.80q: got %.80q, %v, want %v", c.series, got, err, c.want)
		}
	}
	for _, c := range []struct {
		key  string
		want Reason
	}{
		{"", MissingMeasurement}, {",a=1", MissingMeasurement}, {"m,", MissingTagKey}, {"m,=1", MissingTagKey}, {"m,a=1,", MissingTagKey},
		{"m,a", MissingTagValue}, {"m,a,b=1", MissingTagValue}, {"m,a=", MissingTagValue}, {"m,a=,b=1", MissingTagValue}, {`m,a\=1`, MissingTagValue},
		{"m,a=1=2", InvalidTag}, {"m,a==", InvalidTag}, {"m,a=1,a=2", DuplicateTag}, {`m,a=1\`, TrailingBackslash}, {"m,a=1\t", InvalidName},
	} {
		if _, err := ParseKey([]byte(c.key)); !errors.Is(err, Error{Reason: c.want}) {
			t.Errorf("series of %q: got %v, want %v", c.key, err, c.want)
		}
	}
}

// nameGen draws names of the characters that keys are made of, so that escapes meet.
func nameGen() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]rune(`ab,= \"#é`)), 1, 6).Draw(t, "name"))
	})
}

// Whatever a series is, its key reads as it, and the order of its tags is nothing to the key.
func TestKeyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Series{Measurement: nameGen().Draw(t, "measurement")}
		for _, name := range rapid.SliceOfDistinct(nameGen(), rapid.ID[string]).Draw(t, "tags") {
			s.Tags = append(s.Tags, Tag{name, nameGen().Draw(t, "value of "+name)})
		}
		key, err := s.AppendKey(nil)
		if err != nil {
			if !errors.Is(err, Error{Reason: TrailingBackslash}) && !errors.Is(err, Error{Reason: CommentedMeasurement}) {
				t.Fatal(err)
			}
			return
		}
		back, err := ParseKey(key)
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		slices.SortFunc(s.Tags, func(a, b Tag) int { return strings.Compare(a.Name, b.Name) })
		if back.Measurement != s.Measurement || !slices.Equal(back.Tags, s.Tags) {
			t.Fatalf("%q reads as %q, want %q", key, back, s)
		}
		slices.Reverse(s.Tags)
		if again, err := s.AppendKey(nil); string(again) != string(key) || err != nil {
			t.Fatalf("with its tags turned round %q is %q, %v", key, again, err)
		}
	})
}

// Where a series is stored follows from these numbers, in each version: they never change.
func TestHashAndShard(t *testing.T) {
	for _, c := range []struct {
		key    string
		hash   SeriesHash
		shards map[uint32]Shard
	}{
		{"cpu", 0x4196f531ce64819b, map[uint32]Shard{1: 0, 2: 1, 3: 1, 8: 3}},
		{"cpu,host=a", 0x521f9ffb02b3b00f, map[uint32]Shard{1: 0, 2: 1, 3: 1, 8: 7}},
		{"cpu,host=server001,region=eu-west-1", 0x0e73339a4597349a, map[uint32]Shard{1: 0, 2: 0, 3: 1, 8: 2}},
	} {
		hash := HashOf([]byte(c.key))
		if hash != c.hash {
			t.Errorf("hash of %s: got %#x, want %#x", c.key, hash, c.hash)
		}
		for n, want := range c.shards {
			if got := hash.Shard(n); got != want {
				t.Errorf("shard of %s among %d: got %d, want %d", c.key, n, got, want)
			}
		}
	}
}
