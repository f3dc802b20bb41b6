package casefold_test

import (
	"fmt"

	"github.com/picket-edr/picket/sigma/casefold"
)

func ExampleString() {
	fmt.Println(casefold.String("C:\\WINDOWS"))
	fmt.Println(casefold.String("ÄRZTE") == casefold.String("ärzte"))
	fmt.Println(casefold.String("STRASSE") == casefold.String("straße"))
	// Output:
	// c:\windows
	// true
	// false
}
