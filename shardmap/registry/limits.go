package registry

import "time"

// Limits of a service. [Service.Validate] names what exceeds one; [Read] refuses it.
const (
	NameMax         = 128       // bytes of a name
	IDMax           = 256       // bytes of the id of an instance
	InstancesMax    = 512       // of a service
	SettingsMax     = 64        // of an instance, and of a service
	SettingKeyMax   = 64        // bytes of a key
	SettingValueMax = 4096      // bytes of a value
	TagsMax         = 32        // of an instance
	ReasonMax       = 256       // bytes of a reason
	ChangesMax      = 20        // that an instance keeps
	ServiceMax      = 256 << 10 // bytes of a record

	IntervalMin     = 100 * time.Millisecond
	IntervalMax     = 24 * time.Hour
	IntervalDefault = 5 * time.Second
	TimeoutMin      = 10 * time.Millisecond
	TimeoutMax      = time.Minute     // no probe occupies a place for longer
	TimeoutDefault  = 2 * time.Second // or the interval, if that is shorter

	ThresholdMax = 10 // of rise and fall
	RiseDefault  = 2
	FallDefault  = 3

	PriorityMax     = 1_000_000
	PriorityDefault = 1
	ProtectMax      = 100 // percent

	DeregisterMin = time.Second
	DeregisterMax = 365 * 24 * time.Hour
)

// stateMax is more than what the state of an instance takes in a record, without its changes. A
// definition leaves that much room for each instance; what is left is for changes.
const stateMax = ReasonMax + 64
