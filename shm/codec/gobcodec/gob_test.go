package gobcodec

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-869cc763/shmkv/shm/codec"
)

type thing struct {
	Name  string
	When  time.Time
	Parts []thing
}

func TestGob(t *testing.T) {
	var c codec.Codec[thing] = Gob[thing]{}
	for _, v := range []thing{{}, {"a", time.Unix(1, 2).UTC(), []thing{{Name: "b"}}}} {
		data, err := c.Append([]byte("before"), v)
		require.NoError(t, err)
		require.Equal(t, "before", string(data[:6]))
		got, err := c.Decode(data[6:])
		require.NoError(t, err)
		require.Equal(t, v, got)

		_, err = c.Decode(append(data[6:], 1, 2))
		require.ErrorContains(t, err, "found 2 bytes behind the value")
		got, err = c.Decode(data[6 : len(data)-1])
		require.Error(t, err)
		require.Zero(t, got)
	}
	_, err := Gob[chan int]{}.Append(nil, nil)
	require.Error(t, err)

	// An interface value comes back as what it was.
	var any codec.Codec[interface{ String() string }] = Gob[interface{ String() string }]{}
	_, err = any.Append(nil, time.Second)
	require.ErrorContains(t, err, "not registered")
}
