package shardmap

import (
	"math"

	"muster/shardmap/pack"
	"muster/shardmap/registry"
)

// The answer of a transaction, of a command about a lease or of a delete of a prefix does not fit into the fields of
// an outcome: the rest is its detail. It is kept with the outcome, so that a retry gets the
// same answer. Its bytes are msgpack, by the status of the result:
//
//	applied, a transaction        [succeeded, [result, …]], the results of the branch's operations:
//	                              of a set nil; of a del whether the key was there, true or false;
//	                              of a get [version, value], or nil if the key is not there; of an
//	                              incr the sum
//	applied, a lease              [lease, ttl in ms]; of one that was revoked the ttl is 0
//	applied, a delete of a prefix [how many keys were deleted, whether more may be left, the last key that was looked at
//	                              if so, else nothing]
//	not a number, overflow        [key, what its value begins with]
//	read too large                [key, nil], with the key whose value was too much
//	no lease                      the lease
//	service masked                [how many, instance, setting, …], of the first [MaskedShownMax]: the place of the
//	                              instance in the definition, from 1, or 0 for the service itself; and that of
//	                              the setting, from 0

// detailShownMax bounds the bytes of a value in the detail of a refusal.
const detailShownMax = 64

// DetailMax bounds a detail, in bytes: [TxnReadMax] of values, and what stands around them.
const DetailMax = TxnReadMax + 16*TxnOpsMax + 16

// leaseDetailMax bounds a detail about a lease, in bytes: two numbers in an array.
const leaseDetailMax = 1 + 9 + 9

// delPrefixDetailMax bounds the detail of a delete of a prefix, in bytes.
const delPrefixDetailMax = 1 + 5 + 1 + 3 + KeyMax

// MaskedShownMax bounds how many settings the detail of [StatusServiceMasked] names.
const MaskedShownMax = 8

// maskedDetailMax bounds such a detail, in bytes: two bytes behind a head hold each number.
const maskedDetailMax = 3 * (2 + 2*MaskedShownMax)

func appendLeaseDetail(b []byte, id LeaseID, ttl uint64) []byte {
	return pack.AppendUint(pack.AppendUint(pack.AppendArray(b, 2), uint64(id)), ttl)
}

func appendDelPrefixDetail(b []byte, deleted uint32, more bool, last []byte) []byte {
	return pack.AppendBytes(pack.AppendBool(pack.AppendUint(pack.AppendArray(b, 3), uint64(deleted)), more), last)
}

// refuses returns the result of a command that key refuses, with what its value begins with.
func (t *turn) refuses(status Status, key, found []byte) Result {
	b := pack.AppendArray(t.detail[:0], 2)
	b = pack.AppendBytes(b, key)
	if status == StatusReadTooLarge {
		b = pack.AppendNil(b)
	} else {
		b = pack.AppendBytes(b, found[:min(len(found), detailShownMax)])
	}
	t.detail = b
	return Result{Status: status, ID: t.id, Detail: b}
}

// refusesLease returns the result of a command for which a lease is missing.
func (t *turn) refusesLease(id LeaseID) Result {
	t.detail = pack.AppendUint(t.detail[:0], uint64(id))
	return Result{Status: StatusNoLease, ID: t.id, Detail: t.detail}
}

// refusesMasks returns the result of a definition with settings that are masked and stand for nothing.
func (t *turn) refusesMasks(masked []registry.SettingAt) Result {
	shown := masked[:min(len(masked), MaskedShownMax)]
	b := pack.AppendUint(pack.AppendArray(t.detail[:0], 1+2*len(shown)), uint64(len(masked)))
	for _, at := range shown {
		b = pack.AppendUint(pack.AppendUint(b, uint64(at.Instance)), uint64(at.Setting))
	}
	t.detail = b
	return Result{Status: StatusServiceMasked, ID: t.id, Detail: b}
}

// OpResult is what an operation of a transaction did.
type OpResult struct {
	Found   bool   // of a del or a get: the key was there
	Value   []byte // of a get
	Version uint64 // of a get
	Number  int64  // of an incr: the sum
}

// ReadTxnDetail reads the detail of a transaction that was applied, whose branches are those
// of t: whether its compares held, and the result of each operation of the branch that was
// carried out. Values alias the detail.
func ReadTxnDetail(detail []byte, t *Txn) (succeeded bool, results []OpResult, err error) {
	r := pack.NewReader(detail)
	r.ArrayLen(2)
	succeeded = r.Bool()
	ops := t.Else
	if succeeded {
		ops = t.Then
	}
	r.ArrayLen(len(ops))
	for i := range ops {
		var o OpResult
		switch ops[i].Kind {
		case OpDel:
			o.Found = r.Bool()
		case OpGet:
			if o.Found = !r.Nil(); o.Found {
				r.ArrayLen(2)
				o.Version, o.Value = r.Uint(), r.Bytes()
			}
		case OpIncr:
			o.Number = r.Int()
		default:
			if !r.Nil() {
				r.Fail("want nil for a set")
			}
		}
		results = append(results, o)
	}
	return succeeded, results, r.Done()
}

// ReadLeaseDetail reads the detail of a command about a lease that was applied, and of a result
// with [StatusNoLease], which has no ttl.
func ReadLeaseDetail(r *Result) (id LeaseID, ttl uint64, err error) {
	d := pack.NewReader(r.Detail)
	if r.Status != StatusNoLease {
		d.ArrayLen(2)
	}
	id = LeaseID(d.Uint())
	if r.Status != StatusNoLease {
		ttl = d.Uint()
	}
	return id, ttl, d.Done()
}

// ReadDelPrefixDetail reads the detail of a delete of a prefix: how many keys it deleted, whether
// the slot has more that begin with the prefix and were not looked at, and then the last key that was,
// which aliases the detail.
func ReadDelPrefixDetail(detail []byte) (deleted uint32, more bool, last []byte, err error) {
	r := pack.NewReader(detail)
	r.ArrayLen(3)
	deleted, more, last = uint32(r.UintMax(math.MaxUint32)), r.Bool(), r.Bytes()
	return deleted, more, last, r.Done()
}

// ReadRefusal reads the detail of a result of [StatusNotNumber], [StatusOverflow] or
// [StatusReadTooLarge]: the key and, but for the last, what its value begins with.
func ReadRefusal(detail []byte) (key, found []byte, err error) {
	r := pack.NewReader(detail)
	r.ArrayLen(2)
	key = r.Bytes()
	if !r.Nil() {
		found = r.Bytes()
	}
	return key, found, r.Done()
}

// ReadMasked reads the detail of a result of [StatusServiceMasked]: how many settings are masked and
// stand for nothing, and where the first of them are.
func ReadMasked(detail []byte) (count int, shown []registry.SettingAt, err error) {
	r := pack.NewReader(detail)
	n := r.Array()
	count = int(r.UintMax((1 + registry.InstancesMax) * registry.SettingsMax))
	if n < 3 || n%2 == 0 || n > 1+2*MaskedShownMax {
		r.Fail("want places of settings")
	}
	for range (n - 1) / 2 {
		if r.Err() != nil {
			break
		}
		shown = append(shown, registry.SettingAt{Instance: int(r.UintMax(registry.InstancesMax)), Setting: int(r.UintMax(registry.SettingsMax))})
	}
	return count, shown, r.Done()
}
