/** Tests of what is made of measurements. */
@NullMarked
package io.github.repmgrjdbc.cost;

import org.jspecify.annotations.NullMarked;
