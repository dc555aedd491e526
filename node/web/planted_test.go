//go:build plantedbugs

package web

import "testing"

// Each attack must succeed without the defence that it is made on.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for bug, attack := range map[string]func(*testing.T) string{
		bugAnyHost:         rebinding,
		bugAnyOrigin:       crossOrigin,
		bugFramed:          framed,
		bugFarPage:         func(*testing.T) string { return farPage() },
		bugSilentStays:     slowHeads,
		bugAnyBody:         endlessBodies,
		bugWaitsForBody:    unaskedBodies,
		bugOptionsPast:     optionsPast,
		bugSlowReader:      slowReaders,
		bugStreams:         rapidReset,
		bugGreedyUser:      func(*testing.T) string { return greedyUser() },
		bugStrangersRoutes: countedByRoute,
		bugPasswordStays:   influxUsers,
		bugRoomReserved:    influxBodies,
	} {
		t.Run(bug, func(t *testing.T) { // what it has served ends with it
			SetBug(bug)
			wrong := attack(t)
			if wrong == "" {
				t.Error("not found")
			}
			t.Log(wrong)
		})
	}
}
