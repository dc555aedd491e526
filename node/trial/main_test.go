package trial

import (
	"os"
	"testing"

	"muster/node/trial/clustertest"
)

func TestMain(m *testing.M) {
	if os.Getenv(contenderVariable) != "" {
		contend() // this process is one of those that fight for a lock
		return
	}
	clustertest.Main(m)
}
