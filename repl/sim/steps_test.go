package sim

import (
	"reflect"
	"testing"

	"muster/shardmap"
)

// Views that differ in any one field are not the same.
func TestSameViewLooksAtEachField(t *testing.T) {
	var was, is shardmap.SlotView
	if !sameView(&was, &is) {
		t.Fatal("two empty views are not the same")
	}
	differs := func(name string) {
		t.Helper()
		if sameView(&was, &is) {
			t.Errorf("%s differs, and the views are the same", name)
		}
		is = was
	}
	v := reflect.ValueOf(&is).Elem()
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		if f.Kind() == reflect.Struct {
			for j := range f.NumField() {
				alter(t, f.Field(j))
				differs(name + "." + f.Type().Field(j).Name)
			}
			continue
		}
		alter(t, f)
		differs(name)
	}
}

// alter gives a value another one than it has.
func alter(t *testing.T, v reflect.Value) {
	t.Helper()
	switch {
	case v.CanUint():
		v.SetUint(v.Uint() + 1)
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), v.Len()+1, v.Len()+1))
	case v.Kind() == reflect.Struct:
		alter(t, v.Field(0))
	default:
		t.Fatalf("nobody knows how to change a %s", v.Type())
	}
}
