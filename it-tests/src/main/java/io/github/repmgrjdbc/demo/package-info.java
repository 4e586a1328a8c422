/** A live demonstration: an application keeps writing while its cluster loses the primary. */
@NullMarked
package io.github.repmgrjdbc.demo;

import org.jspecify.annotations.NullMarked;
