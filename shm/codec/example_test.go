package codec_test

import (
	"fmt"
	"log"

	"github.com/fxamacker/cbor/v2"

	"github.com/seed-869cc763/shmkv/shm/codec"
)

// Libraries that have functions Marshal and Unmarshal need no more than this.
func ExampleMarshaled() {
	type point struct {
		X int `cbor:"1,keyasint"`
		Y int `cbor:"2,keyasint"`
	}
	points := codec.Marshaled[point]{Marshal: cbor.Marshal, Unmarshal: cbor.Unmarshal}
	data, err := points.Append(nil, point{3, 4})
	if err != nil {
		log.Fatal(err)
	}
	p, err := points.Decode(data)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%x %v\n", data, p)
	// Output: a201030204 {3 4}
}

// A codec of one's own is a type with two methods.
func ExampleCodec() {
	var keys codec.Codec[place] = placeCodec{}
	data, err := keys.Append(nil, place{"de", 10115})
	if err != nil {
		log.Fatal(err)
	}
	p, err := keys.Decode(data)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q %v\n", data, p)
	// Output: "de\x00\x00'\x83" {de 10115}
}

type place struct {
	country string // of two letters
	code    uint32
}

// placeCodec orders places by their country, and then by their code.
type placeCodec struct{}

func (placeCodec) Append(dst []byte, p place) ([]byte, error) {
	if len(p.country) != 2 {
		return dst, fmt.Errorf("found the country %q, expected two letters", p.country)
	}
	return codec.Int[uint32]{}.Append(append(dst, p.country...), p.code)
}

func (placeCodec) Decode(data []byte) (place, error) {
	if len(data) < 2 {
		return place{}, fmt.Errorf("found %d bytes, expected 6", len(data))
	}
	code, err := codec.Int[uint32]{}.Decode(data[2:])
	return place{string(data[:2]), code}, err
}
