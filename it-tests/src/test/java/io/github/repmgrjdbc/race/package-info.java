/** Tests of the race. */
@NullMarked
package io.github.repmgrjdbc.race;

import org.jspecify.annotations.NullMarked;
